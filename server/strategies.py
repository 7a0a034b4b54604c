"""A merge as a strategy for anybody's own Flower app with plain array records.

Our own runs send one sealed payload a reply and keep their model in a session: see
`fedelta.server.rounds`. Here clients are anybody's: they get the model as an
`ArrayRecord` and reply with their own, as for Flower's `FedAvg`.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from ..aggregators.base import Recipe
from ..aggregators.merges import merge
from ..aggregators.recipes import recipe as read
from ..protocols import seeds
from ..protocols.errors import ConfigError, RoundError

LOG = logging.getLogger("fedelta.strategy")
Arrays = Mapping[str, npt.NDArray[Any]]


class MergeStrategy(FedAvg):
    """Flower's `FedAvg` with any merge in the place of its mean.

    A reply is merged as its change against the arrays that were sent. One that does
    not fit them (other names, shapes or dtypes, values that are not finite, a weight
    below zero) is left out, logged, and counted in the metric "refused".

    Args:
        recipe: a recipe or its text, such as "ties(density=0.2)".
        weighted: whether replies count by their `weighted_by_key`; else all alike.
        seed: of recipes that draw.
        options: those of `flwr.serverapp.strategy.FedAvg`, by name.

    Raises:
        ConfigError: no such recipe, or one that needs regions, which plain clients
            do not have.

    Example:
        >>> strategy = MergeStrategy("ties(density=0.2)", fraction_train=0.5)
        >>> strategy.recipe.text
        "ties(density=0.2, gain=1.0, election='mass')"
    """

    def __init__(
        self,
        recipe: str | Recipe = "fedavg()",
        *,
        weighted: bool = True,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.recipe = read(recipe) if isinstance(recipe, str) else recipe
        if self.recipe.outer is not None:
            raise ConfigError(f"{self.recipe.text} merges by region: plain clients")
        self._weighted = weighted
        self._seed = seed
        self._sent: Arrays = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """As `FedAvg`, but what is sent is kept: changes are taken against it."""
        self._sent = {name: array.numpy() for name, array in arrays.items()}
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Merge what fits.

        Raises:
            RoundError: nothing was sent in this round.
        """
        if not self._sent:
            raise RoundError("no round was configured: call configure_train first")
        good: list[RecordDict] = []
        models: list[Arrays] = []
        weights: list[float] = []
        refused = 0
        for reply in sorted(replies, key=_node):
            found = self._read(reply)
            if isinstance(found, str):
                refused += 1
                LOG.warning("round %d, node %d: %s", server_round, _node(reply), found)
                continue
            model, weight = found
            good.append(reply.content)
            models.append(model)
            weights.append(weight if self._weighted else 1.0)
        if not models or not any(weights):
            return None, None
        merged = merge(
            models,
            self.recipe,
            base=self._sent,
            weights=weights,
            seed=seeds.key(self._seed, server_round),
        )
        metrics = self.train_metrics_aggr_fn(good, self.weighted_by_key)
        metrics["refused"] = refused
        return _record(merged), metrics

    def _read(self, reply: Message) -> tuple[Arrays, float] | str:
        """A reply's arrays and weight, or what is wrong with it."""
        if reply.has_error():
            return f"it failed ({reply.error.reason})"
        content = reply.content
        if len(content.array_records) != 1 or len(content.metric_records) != 1:
            return "it does not hold one array record and one metric record"
        weight = next(iter(content.metric_records.values())).get(self.weighted_by_key)
        if not isinstance(weight, int | float) or not 0 <= weight < np.inf:
            return f"its {self.weighted_by_key} is {weight!r}"
        try:
            arrays = next(iter(content.array_records.values())).items()
            model = {name: array.numpy() for name, array in arrays}
        except (TypeError, ValueError, EOFError) as error:
            return f"its arrays cannot be read ({error})"
        wrong = self._misfit(model)
        return wrong or (model, float(weight))

    def _misfit(self, model: Arrays) -> str:
        if model.keys() != self._sent.keys():
            return f"other tensors: {sorted(model.keys() ^ self._sent.keys())[:3]}"
        for name, sent in self._sent.items():
            one = model[name]
            if one.shape != sent.shape or one.dtype != sent.dtype:
                return f"{name}: {one.dtype}{one.shape}, asked {sent.dtype}{sent.shape}"
            if one.dtype.kind == "f" and not np.isfinite(one).all():
                return f"{name}: values that are not finite"
        return ""


def _record(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord(
        {name: Array(np.ascontiguousarray(one)) for name, one in arrays.items()}
    )


def _node(reply: Message) -> int:
    return int(reply.metadata.src_node_id)

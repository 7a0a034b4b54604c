"""Base models in memory: which weights a run changes, and bringing them up to date.

A process keeps one base for all the clients that run in it. Only the weights that
updates touch (the LoRA targets and the head) have a second copy, the bytes to go
back to.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..protocols import digests, seeds
from ..protocols.settings import Config, Lora
from ..protocols.vectors import Floats, Layout, Pair
from . import layouts, loading
from .layouts import FROZEN

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn

    from .networks import Network

CAUSAL = "causal-lm"


def run_key(config: Config) -> int:
    """What a run's random starts are keyed by: its seed alone.

    So runs that differ in their merge or their wire start alike, and can be compared.
    """
    return seeds.key("run", config.run.seed)


def load_base(config: Config, labels: Iterable[str]) -> "Base":
    """Read the base model of a run.

    Args:
        config: which model, which head, which LoRA targets.
        labels: the classes' names.

    Raises:
        ConfigError: the model cannot be read, or has no layer that fits the targets.
    """
    import torch

    names = tuple(labels)
    torch.set_num_threads(1)  # other thread counts give other bits
    body, tokenizer = loading.load(config.model, len(names))
    described = digests.of_bytes(loading.describe(config.model, names))
    network = _network(body, tokenizer, config, names)
    return Base(network, config, digests.chain(_digest(body), described))


def _network(
    body: "torch.nn.Module", tokenizer: Any, config: Config, labels: tuple[str, ...]
) -> "Network":
    """The body with what its task needs; a head that the files lack is drawn."""
    from .causal import Causal
    from .classification import Classification, tokenised
    from .heads import Cosine, Linear

    dtype = config.model.dtype
    if config.model.task == CAUSAL:
        return Causal(body, tokenizer, labels, dtype)
    if config.model.head == "linear":
        linear = Linear(body)
        loading.draw(body, linear.head)
        return Classification(linear, tokenizer, dtype)
    titles = tokenised(tokenizer, labels, config.train.max_length)
    return Classification(Cosine(body, titles), tokenizer, dtype)


def _digest(body: "torch.nn.Module") -> str:
    state = body.state_dict()
    return digests.of_tensors({name: state[name].numpy() for name in state})


class Base:
    """A base model, at some version of it.

    Args:
        network: the model and its task.
        config: the run's.
        digest: what names this base model before any update, on every machine.

    Attributes:
        dense: the parameters that are trained whole, by the names under which their
            changes travel: the head's, or with ``train.mode = "full"`` all.
        applied: digests of the updates that are folded in, oldest first.
    """

    def __init__(self, network: "Network", config: Config, digest: str) -> None:
        from .masters import Masters

        self.network = network
        self.digest = digest
        self.applied: tuple[str, ...] = ()
        full = config.train.mode == "full"
        body = dict(network.body.named_parameters())  # tied ones once
        self._targets = {} if full else layouts.targets(network.body, config.lora)
        self.dense = network.head | (_floats(body) if full else {})
        touched = {f"{module}.weight" for module in self._targets}
        factored = {name: body[name] for name in body if name in touched}
        self._masters = Masters(factored | self.dense)
        self._lora, self._key = config.lora, run_key(config)
        self._own_rank = config.highest_rank
        if config.model.dtype == "bfloat16":
            _lower(body.values(), self.dense.values())
            self._masters.settle()

    @property
    def version(self) -> str:
        """Digest of the version: the base's, chained with every update's."""
        digest = self.digest
        for update in self.applied:
            digest = digests.chain(digest, update)
        return digest

    def pairs(self, config: Config) -> tuple[Pair, ...]:
        """The low-rank pairs of a reply, one a target module, in name order."""
        lora = config.lora
        divisor = lora.rank if lora.scaling == "lora" else lora.rank**0.5
        return tuple(
            Pair(
                f"{module}.weight",
                f"{module}.lora_A.weight",
                f"{module}.lora_B.weight",
                lora.alpha / divisor,
            )
            for module in sorted(self._targets)
        )

    def layout(self, config: Config) -> Layout:
        """The tensors of a reply: A and B of targets, what is dense, statistics."""
        return layouts.reply(self.network.body, self._targets, self._shapes(), config)

    def update_layout(self) -> Layout:
        """The tensors of a merged update: pairs at the rank of the way down.

        In the space "residual" whole weights, in "frozen-a" every B alone.
        """
        lora, highest = self._lora, self._own_rank
        return layouts.update(self._targets, self._shapes(), lora, highest)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(one.shape) for name, one in self.dense.items()}

    def completed(
        self, update: Mapping[str, Floats], number: int
    ) -> Mapping[str, Floats]:
        """An update as it is folded: where A is frozen, with what A was in its round.

        Args:
            update: what a merged update's bytes decode to.
            number: the round that it ends, counted from 1.
        """
        if self._lora.space != FROZEN or not self._targets:
            return update
        return {**update, **self._drawn(self._lora, self._key, number)}

    def start(self, config: Config, run_key: int, round: int) -> dict[str, Floats]:  # noqa: A002
        """Where every client's A starts: Kaiming-uniform, alike for all of them.

        Args:
            config: whether A is drawn once a "run" or anew each "round".
            run_key: `run_key(config)`.
            round: counted from 1.

        Returns:
            A0 by name, [r, in] each; B starts at zero.
        """
        return self._drawn(config.lora, run_key, round)

    def _drawn(self, lora: Lora, run_key: int, number: int) -> dict[str, Floats]:
        when = number if lora.init == "round" else 0
        drawn: dict[str, Floats] = {}
        for module, (_, deep) in self._targets.items():
            key = seeds.key("lora", run_key, module, when)
            flat = seeds.uniform(key, 0, lora.rank * deep)
            bound = deep**-0.5
            values = ((2.0 * flat - 1.0) * bound).astype(np.float32)
            drawn[f"{module}.lora_A.weight"] = values.reshape(lora.rank, deep)
        return drawn

    def weights(self) -> dict[str, Floats]:
        """The weights that updates touch, float32, as they are now: live views."""
        return self._masters.weights()

    def tensors(self) -> dict[str, Floats]:
        """Every tensor of body and head as it is now, read only, float32."""
        state = self.network.body.state_dict()
        read = {name: state[name].float().numpy() for name in state}
        return read | self._masters.weights()

    def origin(self) -> dict[str, Floats]:
        """The base's own weights, of those that updates touch: not to be written to."""
        return self._masters.origin()

    def restore(
        self, words: "Mapping[str, NDArray[np.uint32]]", applied: tuple[str, ...]
    ) -> None:
        """To a version by its snapshot; `applied` are the updates that lead to it."""
        self._masters.restore(words)
        self.applied = applied

    def reset(self) -> None:
        """Back to the base's own bytes."""
        self._masters.reset()
        self.applied = ()

    def fold(self, update: Mapping[str, Floats], digest: str = "") -> None:
        """Add an update to the weights.

        Args:
            update: factors by module (scaling 1) and dense changes by name.
            digest: the update's, to name the version that results.
        """
        self._masters.fold(update)
        self.applied += (digest,)


def _floats(named: "Mapping[str, nn.Parameter]") -> "dict[str, nn.Parameter]":
    return {name: one for name, one in named.items() if one.is_floating_point()}


def _lower(
    parameters: "Iterable[nn.Parameter]", kept: "Iterable[nn.Parameter]"
) -> None:
    """Bring all parameters to bfloat16 but those that are trained whole."""
    import torch

    stay = {id(one) for one in kept}
    for one in parameters:
        if one.is_floating_point() and id(one) not in stay:
            one.data = one.data.to(torch.bfloat16)

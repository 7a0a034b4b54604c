"""Base models in memory: which weights a run changes, and bringing them up to date.

A process keeps one base for all the clients that run in it. Only the weights that
updates touch (the LoRA targets and the head) have a second copy, the bytes to go
back to.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..protocols import digests
from ..protocols.settings import Config
from ..protocols.vectors import Floats, Layout, Pair
from . import layouts, loading, masters
from .starts import Starts, run_key

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn

    from .networks import Network

__all__ = ["Base", "load_base", "run_key"]

CAUSAL = "causal-lm"


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
        self.network = network
        self.digest = digest
        self.applied: tuple[str, ...] = ()
        full = config.train.mode == "full"
        body = dict(network.body.named_parameters())  # tied ones once
        self._targets = {} if full else layouts.targets(network.body, config.lora)
        self.dense = network.head | (_floats(body) if full else {})
        folded = self._targets if config.lora.space != layouts.SHARED else {}
        touched = {f"{module}.weight" for module in folded}
        factored = {name: body[name] for name in body if name in touched}
        self.starts = Starts(self._targets, config.lora, run_key(config))
        self._controls = layouts.controls(self._targets, self._shapes(), config)
        more = layouts.zeros(self._controls) | self.starts.shared()
        cache = config.model.cache
        self._masters = masters.of_parameters(factored | self.dense, more, cache)
        self._lora, self._own_rank = config.lora, config.highest_rank
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
        """The low-rank pairs of a reply, in name order: see `Starts.pairs`."""
        return self.starts.pairs(config)

    def layout(self, config: Config) -> Layout:
        """The tensors of a reply: A and B of targets, what is dense, statistics."""
        return layouts.reply(self.network.body, self._targets, self._shapes(), config)

    def update_layout(self) -> Layout:
        """The tensors of a merged update: see `layouts.update`."""
        lora, highest, more = self._lora, self._own_rank, self._controls
        return layouts.update(self._targets, self._shapes(), lora, highest, more)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(one.shape) for name, one in self.dense.items()}

    def start(self, config: Config, run_key: int, round: int) -> dict[str, Floats]:  # noqa: A002
        """Where a client's factors start.

        Args:
            config: as the client sees it.
            run_key: `run_key(config)`.
            round: counted from 1.

        Returns:
            A by name, [r, in] each: drawn alike for all clients, or what they share
            by now; B, [out, r], where it is drawn too. It starts at zero elsewhere.
        """
        starts = replace(self.starts, key=run_key)
        if config.lora.space == layouts.CORE:
            return starts.framed(round)
        drawn = starts.drawn(config.lora, round)
        if config.lora.space != layouts.SHARED:
            return drawn
        held, shared = self._masters.weights(), layouts.SHARED_NAME
        return {name: held[layouts.renamed(name, shared)].copy() for name in drawn}

    def weights(self) -> dict[str, Floats]:
        """The weights that updates touch, float32, as they are now: live views."""
        return self._masters.weights()

    def tensors(self) -> dict[str, Floats]:
        """Every tensor of body and head as it is now, read only, float32."""
        state = self.network.body.state_dict()
        read = {name: state[name].float().numpy() for name in state}
        held = self._masters.weights()
        own = read.keys() | self.dense.keys()
        return read | {name: one for name, one in held.items() if name in own}

    def origin(self) -> Mapping[str, Floats]:
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
            update: factors by module (scaling 1) and dense changes by name; factors
                that do not travel are filled in.
            digest: the update's, to name the version that results.
        """
        number = len(self.applied) + 1
        self._masters.fold(self.starts.completed(update, number))
        self.applied += (digest,)

    def settle(self) -> None:
        """Have what is computed with follow the weights that were written to."""
        self._masters.settle()


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

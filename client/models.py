"""Base models in memory: which weights a run changes, and bringing them up to date.

A process keeps one base for all the clients that run in it. Only the weights that
updates touch (the LoRA targets and the head) have a second copy, the bytes to go
back to.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..protocols import digests
from ..protocols.settings import Config
from ..protocols.vectors import Floats
from . import layouts, loading, masters
from .starts import run_key
from .trunks import Trunk

if TYPE_CHECKING:
    import torch
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


class Base(Trunk):
    """A base model with its network, at some version of it.

    Args:
        network: the model and its task.
        config: the run's.
        digest: what names this base model before any update, on every machine.

    Attributes:
        network: the model and its task.
        dense: the parameters that are trained whole, by the names under which their
            changes travel: the head's, or with ``train.mode = "full"`` all.
    """

    def __init__(self, network: "Network", config: Config, digest: str) -> None:
        full = config.train.mode == "full"
        body = dict(network.body.named_parameters())  # tied ones once
        targets = {} if full else layouts.targets(network.body, config.lora)
        self.network = network
        self.dense = network.head | (_floats(body) if full else {})
        shapes = {name: tuple(one.shape) for name, one in self.dense.items()}
        super().__init__(digest, config, targets, shapes, network.body)
        self.heads = tuple(network.head)
        self.own_heads = tuple(name for name in network.head if name in body)
        folded = targets if config.lora.space != layouts.SHARED else {}
        touched = {f"{module}.weight" for module in folded}
        parameters = {name: body[name] for name in body if name in touched} | self.dense
        given = parameters, self._beside(), config.model.cache
        self.hold(masters.of_parameters(*given))
        if config.model.dtype == "bfloat16":
            _lower(body.values(), self.dense.values())
            self._masters.settle()

    def tensors(self) -> dict[str, Floats]:
        """Every tensor of body and head as it is now, read only, float32."""
        state = self.network.body.state_dict()
        read = {name: state[name].float().numpy() for name in state}
        held = self._masters.weights()
        own = read.keys() | self.dense.keys()
        return read | {name: one for name, one in held.items() if name in own}

    def adopt(self, weights: Mapping[str, Floats]) -> None:
        """Take weights that another trunk of this base has come to."""
        for name, value in self._masters.weights().items():
            np.copyto(value, weights[name])
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

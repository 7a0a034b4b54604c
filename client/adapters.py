"""LoRA adapters, put into a base by `peft` for the time of a training and taken out.

Hu et al., `LoRA: Low-Rank Adaptation of Large Language Models
<https://arxiv.org/abs/2106.09685>`_, 2021.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..protocols.settings import Config
from ..protocols.vectors import Floats, Pair
from .cores import cored
from .layouts import CORE, FROZEN, SHARED, SHARED_NAME, renamed
from .models import Base

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import Tensor, nn

NAME = "default"


class Adapter:
    """What is trained: factors in the base's layers, its head, or every weight.

    Args:
        base: the model that it sits in.
        trained: the parameters by the names under which they travel.
        kept: what some of them are at first; of the others a copy is taken.
        private: the names of those that never travel.

    Attributes:
        parameters: the parameters by name, in name order.
        origin: what they were when the training started.
        private: the names of those that never travel.
        correction: by name, what is added to every gradient; none: nothing.
    """

    def __init__(
        self,
        base: Base,
        trained: "Mapping[str, nn.Parameter]",
        kept: "Mapping[str, Tensor]",
        private: frozenset[str] = frozenset(),
    ) -> None:
        self.base = base
        self.private = private
        self.correction: Mapping[str, Tensor] = {}
        self.parameters = {name: trained[name] for name in sorted(trained)}
        self.origin = {
            name: kept[name] if name in kept else one.detach().clone()
            for name, one in self.parameters.items()
        }

    def change(self) -> dict[str, Floats]:
        """What training changed of what travels: A - A0, B, what dense weights did."""
        return {
            name: (one.detach() - self.origin[name]).numpy()
            for name, one in self.travelling.items()
        }

    @property
    def travelling(self) -> "dict[str, nn.Parameter]":
        """The parameters whose changes travel, in name order."""
        held = self.parameters.items()
        return {name: one for name, one in held if name not in self.private}

    def own(self) -> dict[str, Floats]:
        """What never travels, as it is now: copies."""
        return {
            name: self.parameters[name].detach().numpy().copy()
            for name in sorted(self.private)
        }

    def correct(self, correction: Mapping[str, Floats]) -> None:
        """Have what training does corrected: each is added to a gradient."""
        import torch

        self.correction = {n: torch.from_numpy(one) for n, one in correction.items()}


@contextmanager
def adapted(
    base: Base, config: Config, start: Mapping[str, Floats]
) -> Iterator[Adapter]:
    """A fresh adapter on the base as it is: A from `start`, and what is dense.

    B starts at zero, or from `start` where it stays at the client or is never trained.
    Afterwards the adapter is gone and every byte of the base is what it was.
    """
    dense = base.dense
    kept = {name: parameter.data for name, parameter in dense.items()}
    with _wrapped(base, config, start) as factors:
        try:
            for name, parameter in dense.items():
                parameter.data = kept[name].clone()
                parameter.requires_grad_(True)  # noqa: FBT003
            private = frozenset(factors) if config.lora.space == SHARED else frozenset()
            private -= {name for name in factors if name.endswith(SHARED_NAME)}
            yield Adapter(base, dense | factors, kept, private)
        finally:
            for name, parameter in dense.items():
                parameter.requires_grad_(False)  # noqa: FBT003
                parameter.grad = None
                parameter.data = kept[name]


@contextmanager
def _wrapped(
    base: Base, config: Config, start: Mapping[str, Floats]
) -> "Iterator[dict[str, nn.Parameter]]":
    """LoRA layers in the base's body, and their factors by name; none in full mode."""
    import peft
    import torch

    body, pairs = base.network.body, base.starts.modules(config)
    if not pairs:
        yield {}
        return
    if config.lora.space == CORE:
        with cored(body, pairs, start) as cores:
            yield cores
        return
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", FutureWarning)  # peft's, of transformers' names
        wrapped = peft.get_peft_model(body, _lora(config, [p.weight for p in pairs]))
    try:
        found: dict[str, nn.Parameter] = {}
        for pair in pairs:
            found |= _started(body, pair, start, config.lora.space)
        yield found
    finally:
        wrapped.unload()


def _started(
    body: "nn.Module", pair: Pair, start: Mapping[str, Floats], space: str
) -> "dict[str, nn.Parameter]":
    """A layer's factors that are trained, by name, at what they start from."""
    import torch

    layer: Any = body.get_submodule(pair.weight.removesuffix(".weight"))
    left, right = layer.lora_B[NAME].weight, layer.lora_A[NAME].weight
    with torch.no_grad():
        right.copy_(torch.from_numpy(np.ascontiguousarray(start[pair.a])))
        left.zero_()
        if pair.b in start:
            left.copy_(torch.from_numpy(start[pair.b]))
    if space == FROZEN:
        right.requires_grad_(False)  # noqa: FBT003
        return {pair.b: left}
    name = renamed(pair.a, SHARED_NAME) if space == SHARED else pair.a
    return {pair.b: left, name: right}


def _lora(config: Config, weights: list[str]) -> "LoraConfig":
    import peft

    return peft.LoraConfig(
        r=config.lora.rank,
        lora_alpha=cast("int", config.lora.alpha),
        use_rslora=config.lora.scaling == "rslora",
        target_modules=[weight.removesuffix(".weight") for weight in weights],
        lora_dropout=0.0,
        bias="none",
    )

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
from ..protocols.vectors import Floats
from .layouts import FROZEN
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

    Attributes:
        parameters: the parameters by name, in name order.
        origin: what they were when the training started.
    """

    def __init__(
        self,
        base: Base,
        trained: "Mapping[str, nn.Parameter]",
        kept: "Mapping[str, Tensor]",
    ) -> None:
        self.base = base
        self.parameters = {name: trained[name] for name in sorted(trained)}
        self.origin = {
            name: kept[name] if name in kept else one.detach().clone()
            for name, one in self.parameters.items()
        }

    def change(self) -> dict[str, Floats]:
        """What training changed, by name: A - A0, B, and what dense weights did."""
        found: dict[str, Floats] = {}
        for name, parameter in self.parameters.items():
            found[name] = (parameter.detach() - self.origin[name]).numpy()
        return found

    def values(self) -> dict[str, Floats]:
        """The parameters as they are now, by name: copies."""
        return {name: p.detach().numpy().copy() for name, p in self.parameters.items()}


@contextmanager
def adapted(
    base: Base, config: Config, start: Mapping[str, Floats]
) -> Iterator[Adapter]:
    """A fresh adapter on the base as it is: A from `start`, B zero, and what is dense.

    Afterwards the adapter is gone and every byte of the base is what it was.
    """
    dense = base.dense
    kept = {name: parameter.data for name, parameter in dense.items()}
    with _wrapped(base, config, start) as factors:
        try:
            for name, parameter in dense.items():
                parameter.data = kept[name].clone()
                parameter.requires_grad_(True)  # noqa: FBT003
            yield Adapter(base, dense | factors, kept)
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

    body, pairs = base.network.body, base.pairs(config)
    if not pairs:
        yield {}
        return
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", FutureWarning)  # peft's, of transformers' names
        wrapped = peft.get_peft_model(body, _lora(config, [p.weight for p in pairs]))
    try:
        found: dict[str, nn.Parameter] = {}
        for pair in pairs:
            layer: Any = body.get_submodule(pair.weight.removesuffix(".weight"))
            left, right = layer.lora_B[NAME].weight, layer.lora_A[NAME].weight
            with torch.no_grad():
                right.copy_(torch.from_numpy(np.ascontiguousarray(start[pair.a])))
                left.zero_()
            found[pair.b] = left
            if config.lora.space == FROZEN:
                right.requires_grad_(False)  # noqa: FBT003
            else:
                found[pair.a] = right
        yield found
    finally:
        wrapped.unload()


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

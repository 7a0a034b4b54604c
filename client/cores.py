"""A small matrix between two fixed factors: trained in the base's layers, taken out.

A layer computes ``W x + s B R A x``; A and B are drawn and fixed, R is [r, r] and
starts at zero. Averages of R are averages of the products, exactly, and R is all that
travels.

Source: Singhal et al., `Fed-SB <https://arxiv.org/abs/2502.15436>`_, 2025, and Balazy
et al., `LoRA-XS <https://arxiv.org/abs/2405.17604>`_, 2024.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..protocols.vectors import Floats, Pair
from .layouts import CORE_NAME, renamed

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def cored(
    body: "nn.Module", pairs: Sequence[Pair], frame: Mapping[str, Floats]
) -> "Iterator[dict[str, nn.Parameter]]":
    """The cores of some layers by the names that they travel under, for a while.

    Args:
        body: the model; nothing of it is changed.
        pairs: one a layer, with the scaling s.
        frame: A and B by name.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    found: dict[str, nn.Parameter] = {}
    handles = []
    for pair in pairs:
        a, b = (torch.tensor(frame[name]) for name in (pair.a, pair.b))
        core = nn.Parameter(torch.zeros(len(a), len(a)))

        def added(
            _: Any,
            inputs: Any,
            out: Any,
            *,
            a: Any = a,
            b: Any = b,
            core: Any = core,
            times: float = pair.scaling,
        ) -> Any:
            low = functional.linear(inputs[0].to(a.dtype), a)
            more = functional.linear(functional.linear(low, core), b)
            return out + times * more.to(out.dtype)

        layer = body.get_submodule(pair.weight.removesuffix(".weight"))
        handles.append(layer.register_forward_hook(added))
        found[renamed(pair.a, CORE_NAME)] = core
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()

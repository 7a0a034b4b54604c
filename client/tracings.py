"""What rows take: counted as a model runs, or reckoned between what was counted."""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SURE = 4
"""Lengths that are counted before others are reckoned: three, and one that agrees."""


@dataclass(frozen=True, slots=True)
class Step:
    """What some rows take.

    Attributes:
        peak: bytes that are held at most beside the weights.
        flops: floating-point operations.
    """

    peak: int
    flops: int


def between(known: Mapping[int, Step], tokens: int) -> Step | None:
    """What rows of so many tokens take, by those that are shorter and longer.

    Layers take what grows with the tokens and, where they attend, with their square:
    a parabola, which is exact here or not used.

    Args:
        known: by tokens what as many rows take.
        tokens: of a row.

    Returns:
        None: too little is known, or it lies on no parabola.

    Example:
        >>> known = {n: Step(n * n, 7 * n) for n in (1, 2, 5, 9)}
        >>> between(known, 6), between(known, 10)
        (Step(peak=36, flops=42), None)
    """
    if len(known) < SURE or not min(known) < tokens < max(known):
        return None
    base = (min(known), sorted(known)[len(known) // 2], max(known))

    def at(length: int) -> Step:
        peak = flops = Fraction()
        for one in base:
            share = prod(Fraction(length - o, one - o) for o in base if o != one)
            peak += share * known[one].peak
            flops += share * known[one].flops
        return Step(int(peak), int(flops))

    if any(at(length) != one for length, one in known.items()):
        return None
    return at(tokens)


def tally(held: "Sequence[torch.Tensor]") -> Any:
    """A mode that counts the bytes that are alive, beside what is held anyway."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.live = self.peak = 0
            self.seen: dict[int, Any] = {
                one.untyped_storage()._cdata: None  # noqa: SLF001
                for one in held
            }

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            for one in tree_leaves(out):
                if isinstance(one, torch.Tensor):
                    self.see(one.untyped_storage())
            return out

        def see(self, storage: Any) -> None:
            key, size = storage._cdata, storage.nbytes()  # noqa: SLF001
            if key in self.seen:
                return
            self.live += size
            self.peak = max(self.peak, self.live)

            def gone(_: Any) -> None:
                self.live -= size
                self.seen.pop(key, None)

            self.seen[key] = weakref.ref(storage, gone)

    return Tally()

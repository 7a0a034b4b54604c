"""What all servers of a tree must share to add the same integers.

A value x becomes ``rint(x 2^(f - e))``: ``2^e`` is the least power of two above every
magnitude of that span in any contribution (or above what a payload says of the whole
tensor), and f = 40 fractional bits are kept below it. A contribution counts by an
integer share. With shares that add up to at most 2^20 no sum reaches 2^61, and with at
most 1023 a magnitude sum stays below 2^50 and a weight below 2^10, so that both fit one
64-bit plane: nothing can overflow.

Both come from a first pass, whose result is itself a commutative monoid (maxima of
peaks, union of shares): a tree takes it up like any other state.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..protocols.errors import BoundsError, PayloadError, QuorumError
from ..protocols.vectors import Contribution, Floats, Layout, Span
from . import kernels
from .base import Member, Reducer
from .shares import FINEST, LARGEST, checked, fitted

FRACTION = 40
PACKED = 1023


@dataclass(frozen=True, slots=True)
class Survey:
    """What the first pass over some members comes to.

    Attributes:
        layout: the tensors that they all have.
        peaks: [S] a bound on the magnitudes of each span: the largest one, or for a
            contribution that knows its tensors' peaks the tensor's.
        shares: by member, what it asks to count for.
    """

    layout: Layout
    peaks: Floats
    shares: Mapping[str, int]

    @classmethod
    def of(cls, members: Iterable[Member]) -> "Survey":
        """Read every member once.

        Raises:
            QuorumError: there is nothing to merge.
            PayloadError: the members do not have the same tensors.
            BoundsError: a value is not finite.
        """
        parts = [
            cls(m.contribution.layout, tops(m.contribution, m.name), {m.name: m.share})
            for m in members
        ]
        if not parts:
            raise QuorumError("nothing to merge")
        joined = parts[0]
        for part in parts[1:]:
            joined = joined.merge(part)
        return joined

    def merge(self, other: "Survey") -> "Survey":
        """What both come to.

        Raises:
            PayloadError: other tensors, or a member that is in both.
        """
        same(self.layout, other.layout)
        twice = sorted(self.shares.keys() & other.shares.keys())
        if twice:
            raise PayloadError(f"counted twice: {', '.join(twice)}")
        top = np.maximum(self.peaks, other.peaks)
        return Survey(self.layout, top, {**self.shares, **other.shares})

    def numbers(self, reducer: Reducer) -> "Numbers":
        """What everybody computes with.

        Raises:
            ConfigError: a negative share where the recipe averages.
            QuorumError: no share at all is left.
        """
        return agreed(self.shares, reducer, exponents(self.peaks))


@dataclass(frozen=True, slots=True)
class Numbers:
    """The agreed numbers of one merge.

    Attributes:
        exponents: by span, e: every magnitude is below 2^e.
        shares: by member, what it counts for; total at most 2^30.
    """

    exponents: tuple[int, ...]
    shares: Mapping[str, int]

    def __post_init__(self) -> None:
        if self.total > FINEST:
            raise BoundsError(f"shares add up to {self.total}, more than {FINEST}")

    @property
    def total(self) -> int:
        """Sum of the shares' magnitudes."""
        return sum(abs(share) for share in self.shares.values())

    @property
    def fraction(self) -> int:
        """Fractional bits, f: fewer than 40 only for totals above 2^20."""
        return FRACTION if self.total <= LARGEST else 60 - self.total.bit_length()

    def scale(self, span: int) -> float:
        """How many integer steps a value of 1 is in a span."""
        return self.step(self.exponents[span])

    def unit(self, span: int, gain: float) -> float:
        """What one integer step is worth in a span, times a gain."""
        return self.worth(self.exponents[span], gain)

    def step(self, exponent: int) -> float:
        """How many integer steps a value of 1 is."""
        return math.ldexp(1.0, self.fraction - exponent)

    def worth(self, exponent: int, gain: float) -> float:
        """What one integer step is worth, times a gain."""
        return math.ldexp(gain, exponent - self.fraction)


def agreed(
    shares: Mapping[str, int], reducer: Reducer, found: tuple[int, ...] = ()
) -> Numbers:
    """Shares that a recipe can use, with exponents where they are known.

    Raises:
        ConfigError: a negative share where the recipe averages.
        QuorumError: no share at all is left.
    """
    asked = dict(sorted(shares.items()))
    checked(asked, adds=reducer.adds)
    return Numbers(found, fitted(asked))


def exponents(peaks: Floats) -> tuple[int, ...]:
    """For each peak the least e with every magnitude below 2^e; 0 for zero.

    Example:
        >>> exponents(np.float32([0.5, 1.0, 0.0, 3.0]))
        (0, 1, 0, 2)
    """
    return tuple(int(e) for e in np.frexp(peaks)[1])


def peaks(contribution: Contribution, name: str = "a contribution") -> Floats:
    """[T] largest magnitude by tensor, from one pass where it is not known.

    Raises:
        BoundsError: a value is not finite.
    """
    given, layout = known(contribution), contribution.layout
    if given is not None:
        return given
    spans = np.array([span.tensor for span in layout.spans], np.int64)
    found = np.zeros(len(layout.names), np.float32)
    np.maximum.at(found, spans, tops(contribution, name))
    return found


def tops(contribution: Contribution, name: str = "a contribution") -> Floats:
    """[S] a bound on the magnitudes by span, from one pass where none is known.

    Raises:
        BoundsError: a value is not finite.
    """
    given, layout = known(contribution), contribution.layout
    top = np.zeros(len(layout.spans), np.uint32)
    for span in layout.spans:
        if given is not None:
            top[span.index] = np.abs(given[span.tensor : span.tensor + 1]).view("u4")[0]
            continue
        values = np.ascontiguousarray(contribution.block(span).values, np.float32)
        top[span.index] = kernels.peak_bits(values.view(np.uint32))
    bad = np.flatnonzero(top >= kernels.INFINITE)
    if bad.size:
        where = layout.names[layout.spans[int(bad[0])].tensor]
        said = getattr(contribution, "where", name)
        raise BoundsError(f"{said} holds a value that is not finite", tensor=where)
    return top.view(np.float32)


def known(contribution: Contribution) -> Floats | None:
    """[T] a bound on the magnitudes by tensor, where a contribution says one."""
    given: Floats | None = getattr(contribution, "peaks", None)
    return given


def spans_of(layout: Layout, tensor: int) -> tuple[Span, ...]:
    """The spans of one tensor."""
    return _by_tensor(layout)[tensor]


@lru_cache(maxsize=64)
def _by_tensor(layout: Layout) -> tuple[tuple[Span, ...], ...]:
    found: list[list[Span]] = [[] for _ in layout.names]
    for span in layout.spans:
        found[span.tensor].append(span)
    return tuple(tuple(spans) for spans in found)


def same(left: Layout, right: Layout) -> None:
    """Hold two layouts to be equal.

    Raises:
        PayloadError: the first tensor that differs.
    """
    if left is right or left == right:
        return
    shapes = dict(zip(left.names, left.shapes, strict=True))
    others = dict(zip(right.names, right.shapes, strict=True))
    for name in sorted(shapes.keys() | others.keys()):
        if name not in others or name not in shapes:
            raise PayloadError("not in every contribution", tensor=name)
        if shapes[name] != others[name]:
            reason = f"shapes differ: {shapes[name]} and {others[name]}"
            raise PayloadError(reason, tensor=name)

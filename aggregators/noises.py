"""Sums of clipped contributions with Gaussian noise on them, read as a merge.

Source: McMahan et al., `Learning Differentially Private Recurrent Language Models
<https://arxiv.org/abs/1710.06963>`_, 2018, algorithm 1, with the noise on the sum and
a fixed denominator. For TIES the noise is on what pushes up and what pushes down; the
election and the division are read off what is noisy already.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..protocols.errors import BoundsError
from ..protocols.secrets import Normals
from ..protocols.vectors import Block, Contribution, Layout, Span
from .base import Member, Recipe
from .sensitivities import SUM
from .tallies import Stack

Reals = npt.NDArray[np.float64]

_SHY = 1.0 - 2.0**-20
"""Clipped norms stay under the clip by more than float32 rounds."""
_ROUNDED = 2.0**-44


@dataclass(frozen=True, slots=True)
class Mechanism:
    """What is added to a round's sums, and how they are read.

    Attributes:
        clip: the largest norm that a contribution counts with, C.
        deviation: of the noise on every element of every sum.
        denominator: fixed and public; what the sum is divided by.
        counts: what one count counts for; 0: no counts are released.
    """

    clip: float
    deviation: float
    denominator: float
    counts: float = 0.0


@dataclass(frozen=True, slots=True)
class Clipped:
    """A contribution with what it is multiplied by.

    Attributes:
        member: whose, and what.
        gain: at most 1, so that the norm is within the clip; 0: it counts for nothing.
        inside: whether it was within the clip as it came.
    """

    member: Member
    gain: float
    inside: bool


def clipped(member: Member, norm: float, clip: float) -> Clipped:
    """Bound a contribution by its norm; one that is not finite counts for nothing.

    Example:
        >>> from fedelta.protocols.vectors import TaskVector
        >>> one = Member("a", TaskVector.of({"w": np.float32([3, 4])}))
        >>> round(clipped(one, 5.0, 1.0).gain, 4), clipped(one, 5.0, 10.0).gain
        (0.2, 1.0)
        >>> clipped(one, math.inf, 1.0).gain
        0.0
    """
    return Clipped(member, gain(norm, clip), inside=norm <= clip)


def gain(norm: float, clip: float) -> float:
    """What brings a norm within the clip, at most 1; 0 where it is not finite."""
    if not math.isfinite(norm):
        return 0.0
    return 1.0 if norm <= clip * _SHY else clip * _SHY / norm


def length(contribution: Contribution) -> float:
    """L2 norm, span by span in float64; infinite where a value is not finite."""
    total = 0.0
    for span in contribution.layout.spans:
        try:
            values = contribution.block(span).values.astype(np.float64)
        except BoundsError:
            return math.inf
        total += float(np.sum(values * values))
    return math.sqrt(total) if math.isfinite(total) else math.inf


def product_length(held: Mapping[str, Stack]) -> float:
    """An upper bound of the products' L2 norm, from the factors' Gram matrices.

    It is the norm itself but for what float64 may have rounded away where large factors
    cancel, so that no factors whatever make a change count with more than the clip.

    Example:
        >>> b, a = np.float32([[3], [4]]), np.float32([[1, 0]])
        >>> round(product_length({"w": Stack(b, a, 2.0)}), 6)
        10.0
    """
    total = 0.0
    for one in held.values():
        b, a = one.b.astype(np.float64), one.a.astype(np.float64)
        left, right = b.T @ b, a @ a.T
        most = float(np.trace(left)) * float(np.trace(right))
        exact = float(np.sum(left * right))
        total += one.scaling**2 * (max(exact, 0.0) + _ROUNDED * most)
    return math.sqrt(total) if math.isfinite(total) else math.inf


class Noisy:
    """The merge of clipped contributions under noise, as a contribution.

    Spans are read one by one: what is held is a span times the sums, whatever the
    number of clients. Sums run in float64 in the members' order.

    Args:
        recipe: its reducer says how the sums are read; its transforms were applied.
        layout: of what is merged: also where nobody came.
        members: clipped, in name order.
        mechanism: the noise.
        normals: where it comes from.
    """

    def __init__(
        self,
        recipe: Recipe,
        layout: Layout,
        members: Sequence[Clipped],
        mechanism: Mechanism,
        normals: Normals,
    ) -> None:
        self.layout = layout
        self._recipe, self._members = recipe, [one for one in members if one.gain]
        self._mechanism, self._normals = mechanism, normals

    def block(self, span: Span) -> Block:
        """One span, merged and noisy."""
        loop = self._recipe.reducer.loop
        if loop == SUM:
            read = self._sum(span) / self._divisor
        else:
            read = self._agreed(span, by_count=loop == "count")
        return Block(span.size, None, (self._recipe.gain * read).astype(np.float32))

    def sums(self, span: Span) -> dict[str, Reals]:
        """By plane, [n] what is summed, before any noise; counts are scaled."""
        if self._recipe.reducer.loop == SUM:
            planes = {"sum": np.zeros(span.size)}
        else:
            names = (
                "up",
                "down",
                *(("ups", "downs") if self._mechanism.counts else ()),
            )
            planes = {name: np.zeros(span.size) for name in names}
        for one in self._members:
            values = one.member.contribution.block(span).dense()
            _add(planes, one.gain * values.astype(np.float64), self._mechanism.counts)
        return planes

    @property
    def _divisor(self) -> float:
        return 1.0 if self._recipe.reducer.adds else self._mechanism.denominator

    def _noise(self, plane: str, span: Span) -> Reals:
        return self._mechanism.deviation * self._normals(plane, span.index, span.size)

    def _noisy(self, span: Span) -> dict[str, Reals]:
        sums = self.sums(span)
        return {name: one + self._noise(name, span) for name, one in sums.items()}

    def _sum(self, span: Span) -> Reals:
        return self._noisy(span)["sum"]

    def _agreed(self, span: Span, *, by_count: bool) -> Reals:
        """Elect and divide: nothing but what is noisy already is looked at."""
        found, counts = self._noisy(span), self._mechanism.counts
        up, down = found["up"], found["down"]
        rises = found["ups"] > found["downs"] if by_count else up > down
        if not counts:
            return np.where(rises, up, -down) / self._divisor
        ups, downs = (np.maximum(found[n] / counts, 1.0) for n in ("ups", "downs"))
        return np.where(rises, up / ups, -down / downs)


def _add(planes: dict[str, Reals], values: Reals, counts: float) -> None:
    """Add one client's clipped values to every plane."""
    if "sum" in planes:
        planes["sum"] += values
        return
    planes["up"] += np.maximum(values, 0.0)
    planes["down"] += np.maximum(-values, 0.0)
    if counts:
        planes["ups"] += counts * (values > 0)
        planes["downs"] += counts * (values < 0)

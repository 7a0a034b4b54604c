"""The algebra that every merge is written in: transform, sum, read.

A *transform* maps one contribution to one. A *reducer* adds: its state is a
commutative monoid of integer planes, so that any order of arrival and any tree of
servers reach the same sums, and so the same update, bit for bit. A *recipe* says what
is done to each contribution, how they are added, and what the sums are read as.

What a transform returns is again a `Contribution` and is read span by span, so a
chain of them keeps no copy of what it works on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..protocols import seeds
from ..protocols.vectors import Block, Contribution, Floats

Planes = npt.NDArray[Any]  # [p, n] int64 or uint64
Factors = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]  # B, A

SPACES = ("product", "residual", "frozen-a", "share-a", "core", "factors", "full")
FORMED = ("product", "residual")
"""Spaces whose matrices the server forms from the factors that came."""


@dataclass(frozen=True, slots=True)
class Key:
    """What randomness is keyed by: equal keys draw equal numbers.

    Attributes:
        run: the run's id.
        round: counted from 1.
        client: the client's name; empty on the server.

    Example:
        >>> Key("00ff", 1).of("a").seed("drop") == Key("00ff", 1, "a").seed("drop")
        True
    """

    run: str = ""
    round: int = 0
    client: str = ""

    def of(self, client: str) -> "Key":
        """The same run and round for one client."""
        return replace(self, client=client)

    def seed(self, purpose: str, *parts: str | int) -> int:
        """A seed for one purpose."""
        return seeds.key(self.run, self.round, self.client, purpose, *parts)


@dataclass(frozen=True, slots=True)
class Member:
    """One contribution with what it counts for.

    Attributes:
        name: whose it is; unique among the members.
        contribution: the task vector.
        share: its integer weight; may be negative only where the recipe adds.
        group: the group (region) it is merged in, where the recipe groups.
    """

    name: str
    contribution: Contribution
    share: int = 1
    group: str = ""


@dataclass(frozen=True, slots=True)
class Transform:
    """One contribution to one.

    Attributes:
        text: how it is written in a recipe.
        apply: reads what it must know of the whole (a norm, a threshold) at once and
            gives a view that computes each span when it is asked for. Randomness
            comes from the key alone.
        factor: where all that it does is to multiply by one number, that number from
            the contribution's L2 norm; None where elements are treated apart.
    """

    text: str
    apply: Callable[[Contribution, Key], Contribution]
    factor: Callable[[float], float] | None = None


@dataclass(frozen=True, slots=True)
class Reducer:
    """Many contributions to one, span by span.

    A state is p planes of integers, all zero at first; two states are merged by
    adding them. So for all states a, b, c and every contribution x

    * ``merge(0, a) = a`` and ``merge(a, b) = merge(b, a)``
    * ``merge(merge(a, b), c) = merge(a, merge(b, c))``
    * ``fold(a, x) = merge(a, fold(0, x))``

    Attributes:
        text: how it is called.
        adds: weights are taken as they are; otherwise they are normalised.
        linear: the update is a weighted sum of the contributions.
        planes: from the total of the shares, the planes' number and type.
        fold: ``(sums [p, n], block, share, scale)``: add ``share * rint(x scale)``
            in place.
        finish: ``(sums [p, n], total, unit, out [n])``: read the sums off; `unit` is
            what an integer step is worth.
        cohort: where the merge is no sum: from all members (in name order, none with
            a share of 0) and a key to their merge. The state is then the members
            themselves, and there are no planes.
        loop: which of the compiled loops folds and reads as `fold` and `finish` do:
            "sum", "mass" or "count" (agreed means by either election); empty: none.
        cored: where a cohort's rule needs no dense matrix of low-rank changes: from
            all members' factors (B with its scaling [out, r], A [r, in], zero columns
            where a member leaves the weight alone) to the merged ones.
    """

    text: str
    adds: bool
    linear: bool
    planes: Callable[[int], tuple[int, npt.DTypeLike]]
    fold: Callable[[Planes, Block, int, float], None]
    finish: Callable[[Planes, int, float, Floats], None]
    cohort: Callable[[Sequence[Member], Key], Contribution] | None = None
    loop: str = ""
    cored: Callable[[Sequence[Factors]], Factors] | None = None

    def zero(self, total: int, size: int) -> Planes:
        """The state of nothing received: [p, size]."""
        count, kind = self.planes(total)
        return np.zeros((count, size), kind)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A federated merge.

    Attributes:
        text: canonical text, which `fedelta.aggregators.recipes.recipe` reads.
        before: what is done to each contribution, in order.
        reducer: how they are added.
        gain: what the result is multiplied by (lambda).
        outer: for a merge of merges: how the groups' results are merged; the fields
            above are then what happens within each group.
        by: what groups are made by.
        after: what is done to the merged contribution, in order.
        spaces: where the recipe means what it says.
        baseless: whether it means something on weights too, not on changes alone.
    """

    text: str
    before: tuple[Transform, ...]
    reducer: Reducer
    gain: float = 1.0
    outer: "Recipe | None" = None
    by: str = ""
    after: tuple[Transform, ...] = ()
    spaces: tuple[str, ...] = SPACES
    baseless: bool = False

    @property
    def linear(self) -> bool:
        """Whether the update is a weighted sum of the contributions."""
        within = self.reducer.linear and all(one.factor for one in self.before)
        within = within and not self.after
        if self.outer is None:
            return within
        return within and self.outer.linear and not self.outer.before

    @property
    def stacked(self) -> bool:
        """Whether products are merged by their factors, without the dense matrix."""
        bare = not (self.before or self.after or self.outer)
        return self.linear or (bare and self.reducer.cored is not None)

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
from ..protocols.errors import ConfigError
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


class Chained:
    """What ``|`` makes chains of."""

    __slots__ = ()

    def __or__(self, after: Any) -> Any:
        """What `chain` makes of both."""
        return chain(self, after)


@dataclass(frozen=True, slots=True)
class Transform(Chained):
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


class Pipe(Chained, tuple[Transform, ...]):
    """Transforms in their order, before it is said which recipe they lead to."""

    __slots__ = ()


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
class Recipe(Chained):
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


def chain(*parts: Any) -> "Recipe | Pipe":
    """Transforms, one recipe, then scalings: ``clip(1.0) | ties() | lines()``.

    Args:
        parts: transforms, pipes of them, and a recipe.

    Returns:
        A recipe; of transforms alone a pipe, which is part of the chain around it.

    Raises:
        ConfigError: nothing, more than one recipe, or something else after it.

    Example:
        >>> from fedelta.aggregators.classics import fedavg
        >>> from fedelta.aggregators.transforms import clip, trim
        >>> (chain(clip(1.0), trim(0.05)) | fedavg()).text
        'clip(1.0) | trim(0.05) | fedavg()'
    """
    flat: list[Any] = []
    for one in parts:
        flat.extend(one if isinstance(one, Pipe) else (one,))
    for one in flat:
        if not isinstance(one, Recipe | Transform):
            raise ConfigError(f"a chain holds transforms and one recipe, not {one!r}")
    recipes = [place for place, one in enumerate(flat) if isinstance(one, Recipe)]
    if flat and not recipes:
        return Pipe(flat)
    if len(recipes) != 1:
        raise ConfigError(f"a chain holds exactly one recipe, not {len(recipes)}")
    before, after = flat[: recipes[0]], flat[recipes[0] + 1 :]
    core: Recipe = flat[recipes[0]]
    for one in after:
        core = _followed(core, one)
    text = " | ".join(one.text for one in flat)
    return replace(core, text=text, before=(*before, *core.before))


def _followed(core: Recipe, one: Transform) -> Recipe:
    if not one.text.startswith(("scale(", "lines(")):
        raise ConfigError(
            f"only scale(...) and lines(...) may follow a recipe, not {one.text}"
        )
    if core.outer is not None:
        raise ConfigError("give what follows to grouped's outer recipe")
    if one.factor is not None and not core.after:
        return replace(core, gain=core.gain * one.factor(1.0))
    return replace(core, after=(*core.after, one))

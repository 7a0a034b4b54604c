"""A reducer's state as fields: what is added under masks, and read off again.

The planes of a reducer are sums already. Here each becomes one or two non-negative
fields with known bounds (`fedelta.protocols.lanes`): a signed sum is moved up by what
each contribution counts for, a plane of two counts is split. All elements have one
scale, ``2^(fraction - exponent)``, which is public: no magnitude may be above
``2^exponent``.

A *side* is what is opened together: what pushes up and what pushes down in an agreed
mean, or all there is where a recipe has no sides. Values that too few stand behind stay
closed, side by side.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..protocols.aborts import Abort, stop
from ..protocols.errors import ConfigError
from ..protocols.lanes import Field, Lanes, Numbers
from ..protocols.terms import Terms
from ..protocols.vectors import Block, Floats
from .base import Planes, Recipe, Reducer
from .recipes import recipe as read
from .scales import FRACTION

SUM, MASS, WEIGHT, VOTES, SIGNS = "sum", "mass", "weight", "votes", "signs"
"""Kinds of planes: a signed sum; magnitudes; shares; members up and down; signs."""

PLANES: dict[str, tuple[str, ...]] = {
    "weighted_mean": (SUM,),
    "weighted_sum": (SUM,),
    "agreed_mean": (MASS, MASS, WEIGHT, WEIGHT),
    "supported_mean": (MASS, MASS, WEIGHT, WEIGHT, VOTES),
    "voted_mean": (SUM, SIGNS),
    "present_mean": (SUM, WEIGHT),
}
"""By reducer, its planes; of those with sides, up before down."""

_SIDED = ("agreed_mean", "supported_mean")
_WIDE = 1 << 20
_HIGH, _LOW = np.int64(32), np.int64((1 << 32) - 1)
LEAST_FRACTION = 8

Open = npt.NDArray[np.bool_]  # [sides, n]


def head(reducer: Reducer) -> str:
    """A reducer's name.

    Raises:
        ConfigError: what it keeps is no sum of known bounds.
    """
    found = reducer.text.partition("(")[0]
    if reducer.cohort is not None or found not in PLANES:
        raise ConfigError(
            f"{reducer.text} keeps no sum that can be masked, allowed: "
            f"{', '.join(sorted(PLANES))}"
        )
    return found


def sides(reducer: Reducer) -> int:
    """How many sides a reducer has."""
    return 2 if head(reducer) in _SIDED else 1


def fraction(reducer: Reducer, lane: int, total: int) -> int:
    """The most fractional bits, up to 40, with which an element takes fewest words.

    Raises:
        ConfigError: fewer than 8 would be left.

    Example:
        >>> mean = read("fedavg").reducer
        >>> fraction(mean, 64, 1023), fraction(mean, 32, 1023), fraction(mean, 32, 10)
        (40, 21, 27)
    """
    share, extra = total.bit_length(), 0
    if sides(reducer) == 2:  # noqa: PLR2004  a weight lies beside each magnitude
        extra = share
    elif head(reducer) != "present_mean":
        extra = 1
    found = min(FRACTION, lane - share - extra)
    if found < LEAST_FRACTION:
        raise ConfigError(
            f"shares that add up to {total} leave {found} bits for a value in a lane "
            f'of {lane}: take privacy.lane = 64 or merge.weights = "uniform"'
        )
    return found


@dataclass(frozen=True, slots=True)
class State:
    """How a round's state lies in fields.

    Attributes:
        recipe: the merge.
        terms: the round's.
    """

    recipe: Recipe
    terms: Terms

    @classmethod
    def of(cls, terms: Terms) -> "State":
        """The state that terms speak of."""
        return cls(read(terms.recipe), terms)

    @property
    def reducer(self) -> Reducer:
        """The recipe's."""
        return self.recipe.reducer

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of the planes."""
        return PLANES[head(self.reducer)]

    @property
    def counts(self) -> Lanes:
        """The first pass of two: how many stand behind each side."""
        fields = tuple(
            Field(f"members.{side}", heads=1) for side in range(sides(self.reducer))
        )
        return Lanes(self.terms.lane, fields, self.terms.total, len(self.terms.names))

    @property
    def values(self) -> Lanes:
        """The state itself."""
        one = 1 << self.terms.fraction
        found: list[Field] = []
        if sides(self.reducer) == 2:  # noqa: PLR2004  each side's in one word
            for side in ("up", "down"):
                found += [Field(f"mass.{side}", one), Field(f"weight.{side}", 1)]
        elif head(self.reducer) == "present_mean":
            found = [Field(SUM, 2 * one), Field(WEIGHT, 1)]
        else:
            found = [Field(SUM, 2 * one)]
        if SIGNS in self.kinds:
            found.append(Field(SIGNS, 2))
        if VOTES in self.kinds:
            found += [Field("votes.up", heads=1), Field("votes.down", heads=1)]
        lanes = tuple(found)
        return Lanes(self.terms.lane, lanes, self.terms.total, len(self.terms.names))

    def standing(self, values: Floats) -> Numbers:
        """[sides, n] 1 where a contribution stands behind a side."""
        if sides(self.reducer) == 1:
            found: Numbers = (values != 0).astype(np.uint64)[None]
        else:
            found = np.stack([values > 0, values < 0]).astype(np.uint64)
        return found

    def written(self, values: Floats, share: int) -> Numbers:
        """One contribution's state in fields [fields, n].

        Raises:
            AbortError: OUT_OF_BOUND, a magnitude above the bound, or not finite.
        """
        top = float(np.abs(values).max(initial=0.0))
        if not top <= math.ldexp(1.0, self.terms.exponent):
            stop(
                Abort.OUT_OF_BOUND,
                "a change is above privacy.bound = "
                f"{math.ldexp(1.0, self.terms.exponent):g}: raise it, or clip",
            )
        planes = self.reducer.zero(_WIDE, values.size)
        scale = math.ldexp(1.0, self.terms.fraction - self.terms.exponent)
        self.reducer.fold(planes, Block(values.size, None, values), share, scale)
        return self._fields(planes, share)

    def closed(self, numbers: Numbers, opened: Open) -> Numbers:
        """Fields with nothing in them where a side stays closed."""
        if sides(self.reducer) == 1:
            return numbers
        held = numbers.copy()
        for place, field in enumerate(self.values.fields):
            side = opened[1] if field.name.endswith("down") else opened[0]
            held[place] *= side
        return held

    def read(self, numbers: Numbers, total: int) -> Planes:
        """The planes that fields [fields, n] stand for, all shares being `total`."""
        by = {
            field.name: row.astype(np.int64)
            for field, row in zip(self.values.fields, numbers, strict=True)
        }
        one = 1 << self.terms.fraction
        found: list[Any] = []
        mass, weight = (
            iter(("mass.up", "mass.down")),
            iter(("weight.up", "weight.down")),
        )
        for kind in self.kinds:
            if kind == SUM:
                found.append(by[SUM] - total * one)
            elif kind == SIGNS:
                found.append(by[SIGNS] - total)
            elif kind == VOTES:
                found.append(by["votes.up"] + (by["votes.down"] << _HIGH))
            elif kind == MASS:
                found.append(by[next(mass)])
            else:
                found.append(by[WEIGHT] if WEIGHT in by else by[next(weight)])
        return np.stack(found)

    def finish(self, planes: Planes, total: int) -> Floats:
        """[n] what the sums are read as."""
        out = np.empty(planes.shape[1], np.float32)
        unit = math.ldexp(self.recipe.gain, self.terms.exponent - self.terms.fraction)
        self.reducer.finish(planes, total, unit, out)
        return out

    def _fields(self, planes: Planes, share: int) -> Numbers:
        one = share << self.terms.fraction
        rows: list[Any] = []
        if sides(self.reducer) == 2:  # noqa: PLR2004
            rows = [planes[0], planes[2], planes[1], planes[3]]
        else:
            rows = [planes[0] + one]
        for kind, plane in zip(self.kinds[1:], planes[1:], strict=True):
            if kind == SIGNS:
                rows.append(plane + share)
            elif kind == VOTES:
                rows += [plane & _LOW, plane >> _HIGH]
            elif kind == WEIGHT and len(rows) == 1:
                rows.append(plane)
        return np.stack(rows).astype(np.uint64)


def enough(members: Numbers, terms: Terms) -> Open:
    """[sides, n] which sides may be opened: whoever of the slack is lost, enough stay.

    Example:
        >>> from dataclasses import replace
        >>> some = Terms("r", 1, "", "", "", "ties()", "full", ("a", "b", "c", "d"),
        ...              (1, 1, 1, 1), 3, 1, 3, 0, "private", 2, "", 64, 40, 3)
        >>> members = np.array([[4, 3, 2, 0]], np.uint64)
        >>> enough(members, some).tolist()
        [[True, True, False, False]]
        >>> enough(members, replace(some, slack=1)).tolist()
        [[True, False, False, False]]
    """
    found: Open = members >= terms.release + terms.slack
    return found

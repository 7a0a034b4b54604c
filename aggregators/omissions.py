"""Merges of all but one: the sums of all, less what that one added to them.

States add, so they subtract: what is left are the others' sums, to the last bit as if
only they had been added. Where the one left out was the only one with so large a
magnitude, the others agree on a finer step, and such spans are added up anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..protocols.errors import QuorumError
from ..protocols.vectors import Block, Contribution, Floats, Layout, Span
from .base import Key, Member, Planes, Recipe
from .reductions import finished, merged, prepare
from .regions import Work
from .scales import Numbers, agreed, exponents, same, tops
from .shares import LARGEST
from .sources import release

MOST = 1 << 28
"""Bytes of sums that are kept; where they come to more, the others are merged anew."""


@dataclass(frozen=True, slots=True)
class Everybody:
    """What all members come to.

    Attributes:
        recipe: its transforms were applied.
        members: in name order.
        tops: [K, S] bounds on the magnitudes by member and span.
        numbers: shared by all.
        sums: [p, N].
    """

    recipe: Recipe
    members: Sequence[Member]
    tops: Floats
    numbers: Numbers
    sums: Planes

    @classmethod
    def of(cls, recipe: Recipe, members: Sequence[Member], key: Key) -> "Everybody":
        """Add all members up.

        Raises:
            PayloadError: the members do not have the same tensors.
            BoundsError: a value is not finite.
        """
        ready = prepare(recipe, members, key)
        layout = ready[0].contribution.layout
        for one in ready:
            same(layout, one.contribution.layout)
        found = np.array([tops(one.contribution, one.name) for one in ready])
        numbers = agreed(
            {one.name: one.share for one in ready},
            recipe.reducer,
            exponents(found.max(0)),
        )
        sums = recipe.reducer.zero(numbers.total, layout.size)
        held = cls(recipe, ready, found, numbers, sums)
        for one in ready:
            for span in layout.spans:
                part = sums[:, span.flat : span.flat + span.size]
                held.add(part, one, span, numbers)
            release(one.contribution)
        return held

    def add(self, sums: Planes, one: Member, span: Span, numbers: Numbers) -> None:
        """Add one member's span to sums [p, n]."""
        share, scale = numbers.shares[one.name], numbers.scale(span.index)
        self.recipe.reducer.fold(sums, one.contribution.block(span), share, scale)

    def without(self, name: str, key: Key) -> Contribution:
        """The others' merge, to be read span by span."""
        place = [one.name for one in self.members].index(name)
        shares = {n: share for n, share in self.numbers.shares.items() if n != name}
        rest = exponents(np.delete(self.tops, place, 0).max(0))
        numbers = agreed(shares, self.recipe.reducer, rest)
        return finished(self.recipe, Rest(self, place, numbers), key)


@dataclass(frozen=True, slots=True)
class Rest:
    """All members but one.

    Attributes:
        all: everybody.
        place: of the one that is left out.
        numbers: as the others agree on them.
    """

    all: Everybody
    place: int
    numbers: Numbers

    @property
    def layout(self) -> Layout:
        """The tensors that were summed."""
        return self.all.members[0].contribution.layout

    def block(self, span: Span) -> Block:
        """One span of the others' update."""
        reducer, numbers = self.all.recipe.reducer, self.numbers
        left = self.all.members[self.place]
        sums = reducer.zero(self.all.numbers.total, span.size)
        if numbers.exponents[span.index] == self.all.numbers.exponents[span.index]:
            self.all.add(sums, left, span, self.all.numbers)
            both = self.all.sums[:, span.flat : span.flat + span.size]
            np.subtract(both, sums, out=sums)
        else:
            for one in self.all.members:
                if one is not left:
                    self.all.add(sums, one, span, numbers)
        total = sum(numbers.shares.values())
        unit = numbers.unit(span.index, self.all.recipe.gain)
        out = np.empty(span.size, np.float32)
        reducer.finish(sums, total, unit, out)
        return Block(span.size, None, out)


def subtracts(recipe: Recipe, members: Sequence[Member]) -> bool:
    """Whether the merge without one can be had from the sums of all.

    Not where the state is the members themselves, or a merge of merges; nor where
    shares are so many that steps hang on their total, or sums would fill the memory.
    """
    if recipe.reducer.cohort is not None or recipe.outer is not None:
        return False
    total = sum(abs(one.share) for one in members)
    if len(members) < 2 or total > LARGEST:  # noqa: PLR2004
        return False
    count, kind = recipe.reducer.planes(total)
    size = members[0].contribution.layout.size
    return count * np.dtype(kind).itemsize * size <= MOST


@dataclass(frozen=True, slots=True)
class Omitting(Work):
    """Merges of all members but one, in turn.

    Attributes:
        held: everybody's sums, once they are known; empty where they do not subtract.
    """

    held: list[Everybody] = field(default_factory=list)

    def remember(self, recipe: Recipe, members: Sequence[Member]) -> None:
        """Add everybody up, where that helps."""
        if subtracts(recipe, members):
            self.held.append(Everybody.of(recipe, members, self.key))

    def whole(self, recipe: Recipe, members: Sequence[Member]) -> Contribution:
        """What all but one come to; whatever else is asked for is merged anew."""
        names = {one.name for one in members}
        for held in self.held:
            (*out,) = (one.name for one in held.members if one.name not in names)
            layout = members[0].contribution.layout if members else None
            if len(out) != 1 or layout != held.members[0].contribution.layout:
                continue
            try:
                return held.without(out[0], self.key)
            except QuorumError:
                break  # nobody is left who counts: said as a merge says it
        return merged(recipe, members, self.key)

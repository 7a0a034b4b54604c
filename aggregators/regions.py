"""A round's members merged at once, or by states that travel up from regions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..protocols.errors import PayloadError
from ..protocols.states import decode_state, encode_state
from ..protocols.vectors import Contribution
from . import mixtures, tallies
from .base import Key, Member, Recipe
from .reductions import merged, prepare
from .scales import Survey
from .tallies import Stack, Tally

Stacks = Mapping[str, Mapping[str, Stack]]


@dataclass(frozen=True, slots=True)
class Work:
    """How a round is merged.

    Attributes:
        recipe: by what.
        key: the run and round.
        regions: whether states travel up from regions.
    """

    recipe: Recipe
    key: Key
    regions: bool

    def merged(self, members: Sequence[Member]) -> Contribution:
        """What the members' tensors come to."""
        if not self.regions:
            return self.whole(self.recipe, members)
        ready = prepare(self.recipe, members, self.key)
        tally = climbed(self.recipe, ready, {})
        return tallies.read(tally, self.recipe, self.key)

    def stacked(
        self, members: Sequence[Member], held: Stacks
    ) -> tuple[Contribution, dict[str, list[Stack]]]:
        """A linear merge: whole tensors, and the weighted products by weight.

        Args:
            members: their whole tensors; the recipe's transforms were applied.
            held: by member and weight, the factors.
        """
        bare = replace(self.recipe, before=())
        if self.regions:
            tally = climbed(bare, members, held)
            parts = mixtures.mixed(bare, tally.numbers, tally.members, tally.stacks)
            return tallies.read(tally, bare, self.key), parts
        numbers = Survey.of(members).numbers(bare.reducer)
        groups = {one.name: one.group if bare.outer else "" for one in members}
        parts = mixtures.mixed(bare, numbers, groups, held)
        return self.whole(bare, members), parts

    def whole(self, recipe: Recipe, members: Sequence[Member]) -> Contribution:
        """What a recipe makes of members, all at once."""
        return merged(recipe, members, self.key)


def climbed(recipe: Recipe, members: Sequence[Member], held: Stacks) -> Tally:
    """One state a region, each handed up as bytes, merged at the root.

    Two passes climb: first the peaks and shares, then the sums.
    """
    regions = sorted({one.group for one in members})
    parts = [[one for one in members if one.group == name] for name in regions]
    survey = Survey.of(parts[0])
    for part in parts[1:]:
        survey = survey.merge(Survey.of(part))
    numbers = survey.numbers(recipe.reducer)
    root: Tally | None = None
    for part in parts:
        tally = Tally(survey.layout, numbers)
        for one in part:
            tally = tallies.fold(tally, recipe, one, held.get(one.name))
        given = handed_up(tally)
        root = given if root is None else tallies.merge(root, given)
    return root if root is not None else Tally(survey.layout, numbers)


def handed_up(tally: Tally) -> Tally:
    """A state through its bytes, as a parent server reads it.

    Raises:
        PayloadError: the bytes are refused.
    """
    tensors, manifest = tallies.written(tally)
    given = decode_state(encode_state(tensors, manifest))
    if not isinstance(given, tuple):
        raise PayloadError(f"a region's state is refused: {given}")
    return tallies.restored(*given)

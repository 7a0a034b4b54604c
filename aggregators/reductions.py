"""The driver: contributions in, one merged contribution out, span by span.

What a merge gives is itself a contribution whose spans are computed when they are
asked for, so memory is a span times the reducer's planes whatever the model's size,
and a merge of merges is nothing special.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..protocols.errors import QuorumError
from ..protocols.vectors import Block, Contribution, Floats, Layout, Span, TaskVector
from .base import Key, Member, Recipe
from .scales import Numbers, Survey
from .transforms import scaled


@dataclass(frozen=True, slots=True)
class Reduction:
    """Members merged by a recipe's reducer, as a contribution.

    Attributes:
        recipe: its reducer and gain are used; its transforms were applied.
        members: in canonical order.
        numbers: what the merge computes with.
    """

    recipe: Recipe
    members: Sequence[Member]
    numbers: Numbers

    @property
    def layout(self) -> Layout:
        """The members'."""
        return self.members[0].contribution.layout

    def block(self, span: Span) -> Block:
        """One span, merged over all members."""
        reducer, numbers = self.recipe.reducer, self.numbers
        sums = reducer.zero(numbers.total, span.size)
        scale = numbers.scale(span.tensor)
        for one in self.members:
            share = numbers.shares[one.name]
            reducer.fold(sums, one.contribution.block(span), share, scale)
        out = np.empty(span.size, np.float32)
        total = sum(numbers.shares[one.name] for one in self.members)
        reducer.finish(sums, total, numbers.unit(span.tensor, self.recipe.gain), out)
        return Block(span.size, None, out)


def prepare(recipe: Recipe, members: Sequence[Member], key: Key) -> list[Member]:
    """Apply what comes before the sum, member by member, in name order."""
    prepared = []
    for one in sorted(members, key=lambda member: member.name):
        contribution = one.contribution
        for transform in recipe.before:
            contribution = transform.apply(contribution, key.of(one.name))
        prepared.append(replace(one, contribution=contribution))
    return prepared


def merged(recipe: Recipe, members: Sequence[Member], key: Key) -> Contribution:
    """What a recipe makes of some members, to be read span by span.

    Raises:
        QuorumError: there is nothing to merge.
        PayloadError: the members do not have the same tensors.
        BoundsError: a value is not finite.
        ConfigError: weights that the recipe cannot use.

    Example:
        >>> from fedelta.aggregators.recipes import recipe
        >>> a = Member("a", TaskVector.of({"w": np.float32([1, 2])}))
        >>> b = Member("b", TaskVector.of({"w": np.float32([3, -1])}), share=3)
        >>> reduce(recipe("fedavg"), [a, b], Key()).tensors["w"]
        array([ 2.5 , -0.25], dtype=float32)
    """
    ready = prepare(recipe, members, key)
    numbers = Survey.of(ready).numbers(recipe.reducer)
    if recipe.outer is None:
        return reduction(recipe, ready, numbers, key)
    groups: dict[str, Contribution] = {}
    for name in sorted({one.group for one in ready}):
        part = [one for one in ready if one.group == name]
        groups[name] = reduction(recipe, part, numbers, key)
    shares = group_shares(recipe.outer, ready, numbers)
    return merged(recipe.outer, outer_members(groups, shares), key)


def reduction(
    recipe: Recipe, members: Sequence[Member], numbers: Numbers, key: Key
) -> Contribution:
    """One group's members merged, the recipe's transforms having been applied.

    Raises:
        QuorumError: nobody is left whose share is not 0, where all are needed at once.
    """
    if recipe.reducer.cohort is None:
        return finished(recipe, Reduction(recipe, members, numbers), key)
    held = [replace(one, share=numbers.shares[one.name]) for one in members]
    held = [one for one in held if one.share]
    if not held:
        raise QuorumError("no reply counts for anything")
    made = recipe.reducer.cohort(held, key)
    if recipe.gain != 1:
        made = scaled(made, recipe.gain)
    return finished(recipe, made, key)


def finished(recipe: Recipe, merged: Contribution, key: Key) -> Contribution:
    """What comes after the merge."""
    for transform in recipe.after:
        merged = transform.apply(merged, key)
    return merged


def group_shares(
    outer: Recipe, members: Sequence[Member], numbers: Numbers
) -> dict[str, int]:
    """What each group counts for: what its members do; once where the outer adds."""
    shares: dict[str, int] = {}
    for one in members:
        more = numbers.shares[one.name]
        shares[one.group] = 1 if outer.reducer.adds else shares.get(one.group, 0) + more
    return shares


def outer_members(
    groups: dict[str, Contribution], shares: dict[str, int]
) -> list[Member]:
    """The groups' results as members of the outer merge."""
    return [Member(name, groups[name], shares[name]) for name in sorted(groups)]


@dataclass(frozen=True, slots=True)
class Flat:
    """A contribution in memory as one run of all its tensors.

    Attributes:
        layout: the tensors.
        values: [N] float32.
    """

    layout: Layout
    values: Floats

    def block(self, span: Span) -> Block:
        """One span: a view."""
        return Block(span.size, None, self.values[span.flat : span.flat + span.size])


def flat(contribution: Contribution) -> Floats:
    """[N] a contribution read whole, span by span, float32."""
    layout = contribution.layout
    values = np.empty(layout.size, np.float32)
    for span in layout.spans:
        part = values[span.flat : span.flat + span.size]
        part[:] = contribution.block(span).dense()
    return values


def dense(contribution: Contribution) -> dict[str, Floats]:
    """Read a contribution whole: tensors by name, float32."""
    layout = contribution.layout
    values = flat(contribution)
    ends = np.cumsum(layout.sizes, dtype=np.int64)
    return {
        name: values[end - size : end].reshape(shape)
        for name, shape, size, end in zip(
            layout.names, layout.shapes, layout.sizes, ends.tolist(), strict=True
        )
    }


def reduce(recipe: Recipe, members: Sequence[Member], key: Key) -> TaskVector:
    """`merged`, read whole."""
    update = merged(recipe, members, key)
    return TaskVector(update.layout, dense(update))

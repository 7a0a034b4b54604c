"""A reducer's state: what an edge server holds and hands up.

States of disjoint sets of members merge by adding integers (and by joining the sets of
stacked factors), so the root reads the same bits off whatever the tree was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..protocols.errors import BoundsError, PayloadError
from ..protocols.vectors import Block, Contribution, Floats, Layout, Span
from .base import Key, Member, Planes, Recipe
from .reductions import (
    Flat,
    finished,
    flat,
    group_shares,
    merged,
    outer_members,
    reduction,
)
from .scales import Numbers, same
from .sources import release


@dataclass(frozen=True, slots=True)
class Stack:
    """One member's low-rank change of one weight, ``scaling B A``.

    Attributes:
        b: [out, r].
        a: [r, in].
        scaling: the pair's scaling times what the recipe's transforms scale by.
    """

    b: Floats
    a: Floats
    scaling: float


@dataclass(frozen=True, slots=True)
class Tally:
    """What some members come to.

    Attributes:
        layout: the tensors that are summed.
        numbers: shared by all servers of the tree.
        planes: by group, the sums [p, N].
        members: by member, its group.
        stacks: by member and weight, the factors of a linear merge of products.
        whole: by member, all it sent [N], where the merge is no sum.
    """

    layout: Layout
    numbers: Numbers
    planes: dict[str, Planes] = field(default_factory=dict)
    members: dict[str, str] = field(default_factory=dict)
    stacks: dict[str, Mapping[str, Stack]] = field(default_factory=dict)
    whole: dict[str, Floats] = field(default_factory=dict)


def fold(
    tally: Tally,
    recipe: Recipe,
    member: Member,
    stacks: Mapping[str, Stack] | None = None,
) -> Tally:
    """Take one member in; gives up the state it is handed.

    Args:
        tally: the state so far.
        recipe: its reducer is used; its transforms were applied.
        member: who; one of those that `Numbers` was made for.
        stacks: the member's factors, in a linear merge of products.

    Raises:
        PayloadError: other tensors, or already in.
        BoundsError: not one of the members that the numbers were made for.
    """
    same(tally.layout, member.contribution.layout)
    if member.name in tally.members:
        raise PayloadError(f"{member.name} is counted twice")
    if member.name not in tally.numbers.shares:
        raise BoundsError(f"{member.name} has no share in this merge")
    group = member.group if recipe.outer is not None else ""
    if recipe.reducer.cohort is not None:
        tally.whole[member.name] = flat(member.contribution)
        release(member.contribution)
        tally.members[member.name] = group
        if stacks:
            tally.stacks[member.name] = stacks
        return tally
    if group not in tally.planes:
        zero = recipe.reducer.zero(tally.numbers.total, tally.layout.size)
        tally.planes[group] = zero
    sums, share = tally.planes[group], tally.numbers.shares[member.name]
    for span in tally.layout.spans:
        part = sums[:, span.flat : span.flat + span.size]
        block = member.contribution.block(span)
        recipe.reducer.fold(part, block, share, tally.numbers.scale(span.index))
    release(member.contribution)
    tally.members[member.name] = group
    if stacks:
        tally.stacks[member.name] = stacks
    return tally


def merge(left: Tally, right: Tally) -> Tally:
    """Join the states of two disjoint sets of members; leaves both alone.

    Raises:
        PayloadError: a member in both, or other tensors or numbers.
    """
    same(left.layout, right.layout)
    if left.numbers != right.numbers:
        raise PayloadError("the states were not made with the same numbers")
    twice = sorted(left.members.keys() & right.members.keys())
    if twice:
        raise PayloadError(f"counted twice: {', '.join(twice)}")
    planes = dict(left.planes)
    for group, sums in right.planes.items():
        planes[group] = planes[group] + sums if group in planes else sums
    return Tally(
        left.layout,
        left.numbers,
        planes,
        left.members | right.members,
        left.stacks | right.stacks,
        left.whole | right.whole,
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """One group's sums, read off span by span."""

    tally: Tally
    recipe: Recipe
    group: str

    @property
    def layout(self) -> Layout:
        """The tensors that were summed."""
        return self.tally.layout

    def block(self, span: Span) -> Block:
        """One span of the group's update."""
        numbers = self.tally.numbers
        sums = self.tally.planes[self.group][:, span.flat : span.flat + span.size]
        inside = [n for n, g in self.tally.members.items() if g == self.group]
        total = sum(numbers.shares[name] for name in inside)
        out = np.empty(span.size, np.float32)
        unit = numbers.unit(span.index, self.recipe.gain)
        self.recipe.reducer.finish(sums, total, unit, out)
        return Block(span.size, None, out)


def read(tally: Tally, recipe: Recipe, key: Key) -> Contribution:
    """The update that a state stands for, to be read span by span."""
    groups = {
        name: _group(tally, recipe, name, key)
        for name in sorted(set(tally.members.values()))
    }
    if recipe.outer is None:
        return groups[""]
    members = [Member(n, groups[g], 1, g) for n, g in sorted(tally.members.items())]
    shares = group_shares(recipe.outer, members, tally.numbers)
    return merged(recipe.outer, outer_members(groups, shares), key)


def _group(tally: Tally, recipe: Recipe, group: str, key: Key) -> Contribution:
    if recipe.reducer.cohort is None:
        return finished(recipe, Reading(tally, recipe, group), key)
    inside = sorted(name for name, g in tally.members.items() if g == group)
    members = [Member(n, Flat(tally.layout, tally.whole[n]), 1, group) for n in inside]
    return reduction(recipe, members, tally.numbers, key)


def written(tally: Tally) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """A state as named arrays and a JSON-able manifest."""
    tensors: dict[str, npt.NDArray[Any]] = {}
    groups = sorted(tally.planes)
    for place, group in enumerate(groups):
        tensors[f"planes.{place}"] = tally.planes[group]
    stacks: dict[str, dict[str, float]] = {}
    for place, (name, held) in enumerate(sorted(tally.stacks.items())):
        for weight, stack in held.items():
            tensors[f"stack.{place}.{weight}.b"] = stack.b
            tensors[f"stack.{place}.{weight}.a"] = stack.a
        stacks[name] = {weight: stack.scaling for weight, stack in held.items()}
    for place, (_, vector) in enumerate(sorted(tally.whole.items())):
        tensors[f"whole.{place}"] = vector
    manifest = {
        "names": list(tally.layout.names),
        "shapes": [list(shape) for shape in tally.layout.shapes],
        "exponents": list(tally.numbers.exponents),
        "shares": dict(tally.numbers.shares),
        "groups": groups,
        "members": dict(tally.members),
        "stacks": stacks,
        "whole": sorted(tally.whole),
    }
    return tensors, manifest


def restored(
    tensors: Mapping[str, npt.NDArray[Any]], manifest: Mapping[str, Any]
) -> Tally:
    """A state from what `written` gave.

    Raises:
        PayloadError: not a state.
    """
    try:
        shapes = tuple(tuple(shape) for shape in manifest["shapes"])
        layout = Layout(tuple(manifest["names"]), shapes)
        numbers = Numbers(tuple(manifest["exponents"]), dict(manifest["shares"]))
        planes = {
            group: tensors[f"planes.{place}"]
            for place, group in enumerate(manifest["groups"])
        }
        stacks: dict[str, Mapping[str, Stack]] = {}
        for place, name in enumerate(sorted(manifest["stacks"])):
            stacks[name] = {
                weight: Stack(
                    tensors[f"stack.{place}.{weight}.b"],
                    tensors[f"stack.{place}.{weight}.a"],
                    float(scaling),
                )
                for weight, scaling in manifest["stacks"][name].items()
            }
        members = dict(manifest["members"])
        whole = {n: tensors[f"whole.{at}"] for at, n in enumerate(manifest["whole"])}
    except (KeyError, TypeError, ValueError) as error:
        raise PayloadError(f"not a state: {error!r}") from error
    return _held(Tally(layout, numbers, planes, members, stacks, whole))


def _held(tally: Tally) -> Tally:
    for group, sums in tally.planes.items():
        if sums.ndim != 2 or sums.shape[1] != tally.layout.size:  # noqa: PLR2004
            raise PayloadError(f"planes of group {group!r} have another size")
    for name, vector in tally.whole.items():
        if vector.shape != (tally.layout.size,) or vector.dtype != np.float32:
            raise PayloadError(f"what {name} sent has another size")
    if not tally.members.keys() <= tally.numbers.shares.keys():
        raise PayloadError("a member without a share")
    return tally

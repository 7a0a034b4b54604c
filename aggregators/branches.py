"""A merge whose members lie behind several servers: surveys, then states, climb.

Each server of a tree does for its own members what the flat merge does for all: it
prepares them, says what they come to at first sight (`Survey`), and, once the root has
made the numbers that all share, adds them up (`Tally`). The root adds the states and
reads the result off: the bits of the flat merge. Where a recipe merges merges
(`grouped`), a group that lies whole behind one server is finished there, and only its
result climbs.

Here every tensor is merged by itself: for full weights, ``frozen-a`` and ``factors``.
Where the server forms products of factors, what has a fixed size is not smaller than
the replies, which are handed on instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..protocols.errors import PayloadError
from ..protocols.vectors import Contribution, Floats, Layout
from . import tallies
from .base import FORMED, Key, Member, Recipe
from .reductions import Flat, finished, flat, group_shares, merged, outer_members
from .reductions import prepare as prepared
from .scales import Numbers, Survey
from .tallies import Reading, Tally

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Branch:
    """What one server of a tree hands up.

    Attributes:
        tally: the sums of its members.
        groups: by group, the finished merge [N] of those that lie whole behind it;
            their sums are not in the tally, their members are.
    """

    tally: Tally
    groups: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def members(self) -> Mapping[str, str]:
        """By member, its group."""
        return self.tally.members


def climbs(recipe: Recipe, space: str, *, lora: bool) -> bool:
    """Whether states of a fixed size climb, or the replies themselves.

    Example:
        >>> from fedelta.aggregators.recipes import recipe
        >>> [climbs(recipe(one), "frozen-a", lora=True) for one in ("ties(0.2)",
        ...                                                         "median()")]
        [True, False]
        >>> climbs(recipe("fedavg"), "product", lora=True)
        False
    """
    formed = lora and space in FORMED
    return not formed and recipe.reducer.cohort is None


def prepare(
    recipe: Recipe, members: Sequence[Member], key: Key
) -> tuple[list[Member], Survey]:
    """A server's own members in the space of the merge, and what they come to.

    Args:
        recipe: its transforms are applied.
        members: at least one.
        key: the run and round.
    """
    bare = [
        replace(one, share=1 if recipe.reducer.adds else one.share) for one in members
    ]
    ready = prepared(recipe, bare, key)
    return ready, Survey.of(ready)


def joined(surveys: Sequence[Survey]) -> Survey:
    """What several servers' members come to.

    Raises:
        PayloadError: other tensors, or a member behind two servers.
    """
    found = surveys[0]
    for one in surveys[1:]:
        found = found.merge(one)
    return found


def summed(recipe: Recipe, ready: Sequence[Member], numbers: Numbers) -> Branch:
    """A server's own members, added up with the numbers that all share."""
    tally = Tally(ready[0].contribution.layout, numbers)
    for one in ready:
        tally = tallies.fold(tally, recipe, one)
    return Branch(tally)


def added(left: Branch, right: Branch) -> Branch:
    """Two servers' states as one.

    Raises:
        PayloadError: a member or a finished group is in both, or other numbers.
    """
    twice = sorted(left.groups.keys() & {*right.members.values()})
    twice += sorted(right.groups.keys() & {*left.members.values()})
    if twice:
        raise PayloadError(f"finished elsewhere already: {', '.join(twice)}")
    tally = tallies.merge(left.tally, right.tally)
    return Branch(tally, {**left.groups, **right.groups})


def closed(branch: Branch, recipe: Recipe, key: Key, whole: Sequence[str]) -> Branch:
    """A state in which some groups are finished: they lie whole behind this server.

    Args:
        branch: the sums.
        recipe: a merge of merges.
        key: the run and round.
        whole: the groups to finish.
    """
    groups = {
        name: flat(finished(recipe, Reading(branch.tally, recipe, name), key))
        for name in whole
        if name in branch.tally.planes
    }
    planes = {n: one for n, one in branch.tally.planes.items() if n not in groups}
    return Branch(replace(branch.tally, planes=planes), {**branch.groups, **groups})


def read(branch: Branch, recipe: Recipe, key: Key) -> Contribution:
    """The update that a whole tree's state stands for."""
    if recipe.outer is None:
        return tallies.read(branch.tally, recipe, key)
    tally = branch.tally
    groups: dict[str, Contribution] = {
        name: finished(recipe, Reading(tally, recipe, name), key)
        for name in sorted(tally.planes)
    }
    for name, values in branch.groups.items():
        groups[name] = Flat(tally.layout, values)
    members = [Member(n, groups[g], 1, g) for n, g in sorted(tally.members.items())]
    shares = group_shares(recipe.outer, members, tally.numbers)
    return merged(recipe.outer, outer_members(groups, shares), key)


def written(branch: Branch) -> tuple[dict[str, Array], dict[str, Any]]:
    """A branch as named arrays and a manifest, for `fedelta.protocols.states`."""
    tensors, manifest = tallies.written(branch.tally)
    names = sorted(branch.groups)
    for place, name in enumerate(names):
        tensors[f"group.{place}"] = branch.groups[name]
    return tensors, manifest | {"finished": names}


def restored(tensors: Mapping[str, Array], manifest: Mapping[str, Any]) -> Branch:
    """A branch from what `written` gave.

    Raises:
        PayloadError: not a branch.
    """
    said = dict(manifest)
    names = said.pop("finished", None)
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise PayloadError("not a branch: it does not say which groups are finished")
    tally = tallies.restored(tensors, said)
    groups: dict[str, Floats] = {}
    for place, name in enumerate(names):
        values = tensors.get(f"group.{place}")
        if values is None or values.dtype != np.float32:
            raise PayloadError(f"group {name!r} is not there")
        if values.shape != (tally.layout.size,):
            raise PayloadError(f"group {name!r} has another size")
        groups[name] = values
    return Branch(tally, groups)


def layout_of(manifest: Mapping[str, Any]) -> Layout:
    """The layout that a survey or a state names.

    Raises:
        PayloadError: it names none.
    """
    try:
        shapes = tuple(tuple(map(int, shape)) for shape in manifest["shapes"])
        return Layout(tuple(map(str, manifest["names"])), shapes)
    except (KeyError, TypeError, ValueError) as error:
        raise PayloadError(f"no layout: {error!r}") from error

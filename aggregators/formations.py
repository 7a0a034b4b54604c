"""A round's replies as members of a merge, in the space that is merged in."""

from collections.abc import Sequence

from ..protocols.errors import ConfigError, QuorumError
from ..protocols.vectors import Contribution
from . import mixtures
from .base import FORMED, SPACES, Member
from .products import Products, stacks
from .regions import Work
from .replies import Arrival, paired_shapes, whole
from .tallies import Stack


def checked(space: str, arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Replies in name order, held to what any merge asks of them."""
    if space not in SPACES:
        raise ConfigError(f"space is {space!r}, allowed: {', '.join(SPACES)}")
    ordered = sorted(arrivals, key=lambda one: one.name)
    for one in ordered:
        if one.share < 1:
            raise ConfigError(f"{one.name} has share {one.share}, allowed: 1 and above")
    if not ordered:
        raise QuorumError("no replies to merge")
    return ordered


def formed(space: str, ordered: Sequence[Arrival]) -> bool:
    """Whether the server forms what is merged from factors that came."""
    return space in FORMED and any(one.pairs for one in ordered)


def apart(work: Work, ordered: Sequence[Arrival]) -> list[Member]:
    """Replies as they are: every tensor by itself, factors too."""
    return [_member(work, one, one.contribution) for one in ordered]


def viewed(
    work: Work, ordered: Sequence[Arrival]
) -> tuple[list[Member], dict[str, dict[str, Stack]]]:
    """What is dense of each reply, and its products; transforms were applied."""
    members, held = [], {}
    for one in ordered:
        given = stacks(one.contribution, one.pairs, one.start)
        rest = whole(one)
        view, gain = mixtures.view(work.recipe, one.contribution, given, rest)
        members.append(_member(work, one, view))
        held[one.name] = mixtures.scaled(given, gain)
    paired_shapes(held)
    return members, held


def products(
    work: Work, ordered: Sequence[Arrival]
) -> tuple[list[Member], dict[str, tuple[int, int]]]:
    """Replies as products, element by element, and the shapes of those weights."""
    held = {one.name: stacks(one.contribution, one.pairs, one.start) for one in ordered}
    shapes = paired_shapes(held)
    members = [
        _member(
            work, one, Products(one.contribution, held[one.name], shapes, whole(one))
        )
        for one in ordered
    ]
    return members, shapes


def _member(work: Work, one: Arrival, view: Contribution) -> Member:
    share = 1 if work.recipe.reducer.adds else one.share
    return Member(one.name, view, share, one.region)


def ranks(ordered: Sequence[Arrival]) -> list[int]:
    """The ranks of all pairs that came."""
    return [
        one.contribution.layout.shapes[one.contribution.layout.place(pair.a)][0]
        for one in ordered
        for pair in one.pairs
    ]

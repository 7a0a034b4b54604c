"""One round's merge, in the space where it belongs.

``product``: each pair is merged as what it means, ``s B A``. Linear recipes stack the
factors; the others form the products by blocks of rows. What comes back is brought
down to a rank, and what was cut off is handed to the next round. ``residual``: the
same, but nothing is brought down: what comes back is the merged matrix. ``frozen-a``:
all have the same A, which nobody trains, and B is merged, exactly. ``factors``: A and B
are merged apart, as most systems do. ``share-a``, ``core``, ``full``: there are no
pairs; every tensor is merged by itself.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..protocols.errors import ConfigError
from ..protocols.vectors import Contribution, Floats, Pair
from . import factors, formations
from .base import Key, Recipe
from .factors import Reduced
from .omissions import Omitting
from .products import tensor
from .regions import Work
from .replies import Arrival, Merged, paired_shapes, whole
from .tallies import Stack

__all__ = [
    "Arrival",
    "Carry",
    "Merged",
    "brought_down",
    "merge_round",
    "of_tensors",
    "omitted",
    "paired_shapes",
    "whole",
]

Carry = Mapping[str, npt.NDArray[Any]]


def merge_round(  # noqa: PLR0913
    recipe: Recipe,
    space: str,
    arrivals: Sequence[Arrival],
    *,
    key: Key,
    rank_down: int = 0,
    carry: Carry | None = None,
    regions: bool = False,
) -> Merged:
    """Merge a round's replies, in name order whatever order they came in.

    Args:
        recipe: its transforms are applied here, in the space of the merge.
        space: one of `fedelta.aggregators.base.SPACES`.
        arrivals: the accepted replies.
        key: the run and round.
        rank_down: rank R of the update's pairs (at most the matrix's); 0: four times
            the largest rank that came.
        carry: what the last round's merge cut off.
        regions: build one state a region, hand them up as bytes, merge them: the same
            bits as without.

    Raises:
        QuorumError: no arrivals.
        ConfigError: no such space, a share below 1, or unequal ranks where factors are
            merged apart.
        PayloadError: replies whose tensors do not fit each other.
        BoundsError: a reply that is not finite.

    Example:
        >>> from fedelta.aggregators.recipes import recipe
        >>> from fedelta.protocols.vectors import TaskVector
        >>> def reply(name, x):
        ...     return Arrival(name, TaskVector.of({"w": np.float32([x, 1])}))
        >>> cohort = [reply("a", 1), reply("b", 3)]
        >>> merge_round(recipe("fedavg"), "full", cohort, key=Key()).update["w"]
        array([2., 1.], dtype=float32)
    """
    ordered = formations.checked(space, arrivals)
    work = Work(recipe, key, regions)
    with factors.one_thread():
        return _merged(work, space, ordered, rank_down, carry or {})


def omitted(
    recipe: Recipe,
    space: str,
    arrivals: Sequence[Arrival],
    *,
    key: Key,
    rank_down: int = 0,
    carry: Carry | None = None,
) -> Callable[[str], Merged]:
    """Merges of all replies but one, the same bits as `merge_round` of the others.

    Where the recipe adds, everybody is added up once, and each one subtracted.

    Args:
        recipe: as for `merge_round`, like what follows.
        space: one of `fedelta.aggregators.base.SPACES`.
        arrivals: the accepted replies, at least two.
        key: the run and round.
        rank_down: rank of the update's pairs.
        carry: what the last round's merge cut off.

    Returns:
        From a client's name to the merge without its reply.

    Raises:
        QuorumError: no arrivals.
        ConfigError: what `merge_round` says.
        PayloadError: replies whose tensors do not fit each other.
        BoundsError: a reply that is not finite.

    Example:
        >>> from fedelta.aggregators.recipes import recipe
        >>> from fedelta.protocols.vectors import TaskVector
        >>> def reply(name, x):
        ...     return Arrival(name, TaskVector.of({"w": np.float32([x, 1])}))
        >>> cohort = [reply("a", 1), reply("b", 3), reply("c", 5)]
        >>> omitted(recipe("fedavg"), "full", cohort, key=Key())("b").update["w"]
        array([3., 1.], dtype=float32)
    """
    ordered = formations.checked(space, arrivals)
    work = Omitting(recipe, key, regions=False)
    with factors.one_thread():
        if not formations.formed(space, ordered):
            work.remember(recipe, formations.apart(work, ordered))
        elif recipe.stacked:
            work.remember(
                replace(recipe, before=()), formations.viewed(work, ordered)[0]
            )
        else:
            work.remember(recipe, formations.products(work, ordered)[0])

    def without(name: str) -> Merged:
        rest = [one for one in ordered if one.name != name]
        with factors.one_thread():
            return _merged(work, space, rest, rank_down, carry or {})

    return without


def _merged(
    work: Work, space: str, ordered: Sequence[Arrival], rank_down: int, carry: Carry
) -> Merged:
    if not formations.formed(space, ordered):
        return _apart(work, ordered)
    if space == "residual":
        return _whole(work, ordered)
    rank = rank_down or 4 * max(formations.ranks(ordered))
    if work.recipe.stacked:
        return _linear(work, ordered, rank, carry)
    return _elementwise(work, ordered, rank, carry)


def _apart(work: Work, ordered: Sequence[Arrival]) -> Merged:
    """Every tensor by itself, factors too."""
    pairs, start = ordered[0].pairs, ordered[0].start
    for one in ordered:
        if one.pairs != pairs:
            raise ConfigError(
                f"{one.name} has other pairs, ranks or scalings than "
                f"{ordered[0].name}: merge in space 'product'"
            )
    members = formations.apart(work, ordered)
    return of_tensors(work.merged(members), pairs, start)


def of_tensors(
    merged: Contribution, pairs: Sequence[Pair], start: Mapping[str, Floats]
) -> Merged:
    """What a merge of every tensor by itself comes to, factors too.

    Args:
        merged: by tensor.
        pairs: which of them are low-rank pairs.
        start: what the factors' changes are counted from.
    """
    update = {name: tensor(merged, name) for name in merged.layout.names}
    rank = 0
    for pair in pairs:
        b, a = factors.names(pair.weight)
        left = update.pop(pair.b)
        update[b] = np.float32(pair.scaling) * left
        rank = max(rank, left.shape[1])
        if pair.a in update:  # frozen otherwise
            right = update.pop(pair.a)
            update[a] = right + start[pair.a] if pair.a in start else right
    report = {"rank": float(rank), "truncation": 0.0, "truncation_max": 0.0}
    return Merged(update, {}, report)


def _linear(work: Work, ordered: Sequence[Arrival], rank: int, carry: Carry) -> Merged:
    """By stacked factors, never through the dense matrix."""
    update, parts = _stacked(work, ordered)
    reduced: dict[str, Reduced] = {}
    for weight in sorted(parts.keys() | _carried(carry)):
        pairs = parts.get(weight, [])
        bs = [part.scaling * part.b.astype(np.float64) for part in pairs]
        as_ = [part.a.astype(np.float64) for part in pairs]
        if f"{weight}|b" in carry:
            bs.append(carry[f"{weight}|b"].astype(np.float64))
            as_.append(carry[f"{weight}|a"].astype(np.float64))
        reduced[weight] = factors.stacked(bs, as_, rank)
    return brought_down(update, reduced, rank)


def _stacked(
    work: Work, ordered: Sequence[Arrival]
) -> tuple[dict[str, Floats], dict[str, list[Stack]]]:
    """By factors: what is dense, and by weight the products to be added up."""
    members, held = formations.viewed(work, ordered)
    merged, parts = work.stacked(members, held)
    return {name: tensor(merged, name) for name in merged.layout.names}, parts


def _formed(
    work: Work, ordered: Sequence[Arrival]
) -> tuple[Contribution, dict[str, tuple[int, int]]]:
    """Products merged element by element; the shapes of the weights they change."""
    members, shapes = formations.products(work, ordered)
    return work.merged(members), shapes


def _whole(work: Work, ordered: Sequence[Arrival]) -> Merged:
    """The merged matrices as they are: nothing is cut off."""
    report = {"rank": 0.0, "truncation": 0.0, "truncation_max": 0.0}
    if not work.recipe.stacked:
        merged, _ = _formed(work, ordered)
        update = {name: tensor(merged, name) for name in merged.layout.names}
        return Merged(update, {}, report)
    update, parts = _stacked(work, ordered)
    for weight, held in parts.items():
        b = np.concatenate([one.scaling * one.b.astype(np.float64) for one in held], 1)
        a = np.concatenate([one.a.astype(np.float64) for one in held])
        update[weight] = (b @ a).astype(np.float32)
    return Merged(update, {}, report)


def _elementwise(
    work: Work, ordered: Sequence[Arrival], rank: int, carry: Carry
) -> Merged:
    """Products by blocks of rows, the merged matrix by a seeded projection."""
    merged, shapes = _formed(work, ordered)
    update: dict[str, Floats] = {}
    reduced: dict[str, Reduced] = {}
    for name in merged.layout.names:
        value = tensor(merged, name)
        if name not in shapes:
            update[name] = value
            continue
        if f"{name}|dense" in carry:
            value = value + carry[f"{name}|dense"]
        seed = work.key.seed("projection", name)
        reduced[name] = factors.projected(value, rank, seed)
    for name in sorted(_carried(carry) - shapes.keys()):
        seed = work.key.seed("projection", name)
        reduced[name] = factors.projected(carry[f"{name}|dense"], rank, seed)
    return brought_down(update, reduced, rank)


def brought_down(
    update: dict[str, Floats], reduced: Mapping[str, Reduced], rank: int
) -> Merged:
    """A merge whose products were brought down to a rank, with what was cut off."""
    carry: dict[str, npt.NDArray[Any]] = {}
    worst = cut = norm = 0.0
    for weight, one in reduced.items():
        b, a = factors.names(weight)
        update[b], update[a] = one.b, one.a
        if isinstance(one.rest, tuple):
            carry[f"{weight}|b"], carry[f"{weight}|a"] = one.rest
        else:
            carry[f"{weight}|dense"] = one.rest
        cut, norm = math.hypot(cut, one.cut), math.hypot(norm, one.norm)
        worst = max(worst, one.cut / one.norm if one.norm else 0.0)
    report = {
        "rank": float(rank),
        "truncation": cut / norm if norm else 0.0,
        "truncation_max": worst,
    }
    return Merged(update, carry, report)


def _carried(carry: Carry) -> set[str]:
    """The weights of which something was cut off."""
    return {name.rsplit("|", 1)[0] for name in carry}

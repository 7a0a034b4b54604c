"""One round's merge under noise, in the space where it belongs.

``full``: every tensor as it is. ``product`` and ``residual``: noise on each matrix
``s B A``, formed one at a time. ``frozen-a``: A is public and alike for all, so that a
product is given by its coordinates in an orthonormal basis of A's rows, ``s B L`` with
``A = L Q``; their norm is the product's own, and there are r / in times as many of them
for the noise to fall on. ``factors``: refused, for noise on B is multiplied by A.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..protocols.errors import BoundsError, ConfigError
from ..protocols.secrets import Normals
from ..protocols.vectors import Contribution, Floats, Layout, Pair, TaskVector
from . import factors
from .base import FORMED, Key, Member, Recipe
from .factors import Reduced
from .noises import Clipped, Mechanism, Noisy, clipped, length, product_length
from .products import Products, Reals, Subset, stacks, tensor
from .reductions import prepare
from .spaces import Arrival, Carry, Merged, brought_down, paired_shapes, whole
from .tallies import Stack

FROZEN = "frozen-a"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a round merges, known before anybody answers.

    Attributes:
        space: "product", "residual", "frozen-a" or "full".
        layout: of a reply.
        pairs: its low-rank pairs.
        start: A at the round's beginning, by name.
    """

    space: str
    layout: Layout
    pairs: tuple[Pair, ...]
    start: Mapping[str, Floats]

    def merged(self) -> Layout:
        """The coordinates that noise falls on.

        Raises:
            ConfigError: the space has none of bounded sensitivity.
        """
        if self.space not in (*FORMED, FROZEN, "full"):
            raise ConfigError(
                f'lora.space = "{self.space}": noise on B would be multiplied by A: '
                f'take "{FROZEN}" or "product"'
            )
        shapes = dict(zip(self.layout.names, self.layout.shapes, strict=True))
        for pair in self.pairs:
            out, a = shapes.pop(pair.b)[0], shapes.pop(pair.a, None)
            deep = self.start[pair.a].shape if a is None else a
            wide = min(deep) if self.space == FROZEN else deep[1]
            shapes[pair.weight] = (out, wide)
        return Layout.of(shapes)


@dataclass(frozen=True, slots=True)
class Private:
    """A round's noisy merge.

    Attributes:
        merged: as `fedelta.aggregators.spaces.merge_round` gives it.
        inside: how many contributions were within the clip: not to be released.
        dropped: whose contribution was not finite, and counted for nothing.
    """

    merged: Merged
    inside: int
    dropped: tuple[str, ...]


def merge_private(  # noqa: PLR0913
    recipe: Recipe,
    shape: Shape,
    arrivals: Sequence[Arrival],
    mechanism: Mechanism,
    normals: Normals,
    *,
    key: Key,
    rank_down: int = 0,
    carry: Carry | None = None,
) -> Private:
    """Clip, sum, add noise, read: everybody counts once, also where nobody came.

    Args:
        recipe: `fedelta.aggregators.sensitivities.check` holds of it.
        shape: what is merged.
        arrivals: the accepted replies.
        mechanism: clip, noise and denominator.
        normals: where the noise comes from: a `fedelta.protocols.secrets.Secret`'s.
        key: of the recipe's own draws.
        rank_down: rank of the update's pairs, where they are brought down to one.
        carry: what the last round's merge cut off.

    Raises:
        ConfigError: the space has no bounded sensitivity.
        PayloadError: replies whose tensors do not fit each other.
    """
    layout = shape.merged()
    ordered = sorted(arrivals, key=lambda one: one.name)
    with factors.one_thread():
        members = [_clipped(recipe, shape, one, mechanism.clip, key) for one in ordered]
        noisy = Noisy(recipe, layout, members, mechanism, normals)
        merged = _read(noisy, shape, rank_down, carry or {}, key)
    dropped = tuple(one.member.name for one in members if not one.gain)
    return Private(merged, sum(one.inside for one in members), dropped)


def _clipped(
    recipe: Recipe, shape: Shape, one: Arrival, clip: float, key: Key
) -> Clipped:
    """A reply in the space of the merge, transformed, and clipped last of all."""
    seen, norm = _seen(shape, one)
    member = Member(one.name, seen)
    if recipe.before and np.isfinite(norm):
        try:
            member = prepare(recipe, [member], key)[0]
        except BoundsError:
            return clipped(member, np.inf, clip)
        norm = length(member.contribution)
    return clipped(member, norm, clip)


def _seen(shape: Shape, one: Arrival) -> tuple[Contribution, float]:
    """A reply as what is merged, and its norm there."""
    if not one.pairs:
        return one.contribution, length(one.contribution)
    try:
        held = stacks(one.contribution, one.pairs, one.start)
    except BoundsError:
        return one.contribution, np.inf
    if shape.space == FROZEN:
        vector = _coordinates(one, held)
        return vector, length(vector)
    dense = whole(one)
    norm = np.hypot(product_length(held), length(Subset(one.contribution, dense)))
    shapes = paired_shapes({one.name: held})
    return Products(one.contribution, held, shapes, dense), float(norm)


def _coordinates(one: Arrival, held: Mapping[str, Stack]) -> TaskVector:
    """Products by their coordinates ``s B L``, and what is dense."""
    made = {name: tensor(one.contribution, name) for name in whole(one)}
    for weight, stack in held.items():
        made[weight] = turned(stack.b, stack.scaling, stack.a)
    return TaskVector.of(made)


def turned(b: Floats, scaling: float, a: Floats) -> Floats:
    """A frozen pair's change in coordinates of its product's own norm: ``s B L``."""
    found = scaling * b.astype(np.float64) @ basis(a)
    with np.errstate(over="ignore"):  # infinite values count for nothing
        return found.astype(np.float32)


def unturned(value: Floats, a: Floats) -> Floats:
    """The B, scaling in it, that coordinates stand for.

    Example:
        >>> b, a = np.float32([[1.0, 2.0]]), np.float32([[1, 1, 0], [0, 2, 1]])
        >>> bool(np.allclose(unturned(turned(b, 0.5, a), a), 0.5 * b))
        True
    """
    left = value.astype(np.float64) @ np.linalg.pinv(basis(a))
    return left.astype(np.float32)


def basis(a: Floats) -> Reals:
    """L of ``A = L Q``, [r, min(r, in)], where Q has orthonormal rows.

    Example:
        >>> b, a = np.float32([[1.0, 2.0]]), np.float32([[1, 1, 0], [0, 2, 1]])
        >>> bool(np.isclose(np.linalg.norm(b @ a), np.linalg.norm(b @ basis(a))))
        True
    """
    found: Reals = np.linalg.qr(a.astype(np.float64).T)[1].T
    return found


def _read(noisy: Noisy, shape: Shape, rank: int, carry: Carry, key: Key) -> Merged:
    weights = {pair.weight: pair for pair in shape.pairs}
    update: dict[str, Floats] = {}
    reduced: dict[str, Reduced] = {}
    for name in noisy.layout.names:
        value = tensor(noisy, name)
        if name not in weights or shape.space == "residual":
            update[name] = value
        elif shape.space == FROZEN:
            left = unturned(value, shape.start[weights[name].a])
            update[factors.names(name)[0]] = left
        else:
            value = value + _owed(carry, name)
            reduced[name] = factors.projected(value, rank, key.seed("projection", name))
    if reduced:
        return brought_down(update, reduced, rank)
    return Merged(update, {}, {"rank": 0.0, "truncation": 0.0, "truncation_max": 0.0})


def _owed(carry: Carry, weight: str) -> Any:
    """What earlier rounds cut off of a weight's merged change."""
    owed: Any = carry.get(f"{weight}|dense", np.float32(0))
    if f"{weight}|b" in carry:
        owed = owed + carry[f"{weight}|b"] @ carry[f"{weight}|a"]
    return owed

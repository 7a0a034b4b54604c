"""Noise that clients add in portions, of which only their masked sum has enough.

Each client brings its change into coordinates of the products' own norm, clips it to
norm C, cuts it towards zero on the grid of the fields (which raises no norm), and adds
discrete Gaussian noise before it masks. No counts are sent. docs/privacy.md has the
proof; `fedelta.aggregators.noises` is the same mechanism at a server that is trusted.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..protocols import lattices
from ..protocols.errors import ConfigError
from ..protocols.lanes import Field, Lanes, Numbers
from ..protocols.protections import Privacy
from ..protocols.secrets import Secret
from ..protocols.terms import Terms
from ..protocols.vectors import Floats, Pair
from .base import Planes, Recipe
from .fields import LEAST_FRACTION, SUM, State, head
from .noises import gain
from .privates import turned, unturned
from .scales import FRACTION

UP, DOWN = "up", "down"
Reals = npt.NDArray[np.float64]

_SUMS = ("weighted_mean", "weighted_sum")
_SPAN = 1 << 20
_TAKE = "take fedavg() or ties()"


def asked(given: Privacy) -> bool:
    """Whether clients add the noise."""
    return given.mode == "client" and given.noise_by == "clients"


def kinds(recipe: Recipe) -> tuple[str, ...]:
    """What is summed: changes, or what pushes up and what pushes down.

    Raises:
        ConfigError: a recipe that needs more than that.
    """
    if recipe.reducer.loop == "mass":
        return (UP, DOWN)
    if recipe.reducer.loop == SUM and head(recipe.reducer) in _SUMS:
        return (SUM,)
    raise ConfigError(
        f"{recipe.text} is read off more than sums of changes, and clients add noise "
        f"to nothing else: {_TAKE}"
    )


def fraction(recipe: Recipe, lane: int, total: int) -> int:
    """The most fractional bits with which each sum takes one word.

    Raises:
        ConfigError: fewer than 8 would be left; or a recipe that is refused.
    """
    kinds(recipe)
    found = min(FRACTION, lane - total.bit_length() - 1)
    if found < LEAST_FRACTION:
        raise ConfigError(
            f"{total} clients leave {found} bits for a value in a lane of {lane}: "
            "take privacy.lane = 64"
        )
    return found


def deviation(given: Privacy, threshold: int, unit: float) -> float:
    """How much noise each client adds, so that the honest survivors' is enough.

    Args:
        given: clip, multiplier, colluders, and how many honest ones are counted on.
        threshold: the fewest survivors of a sum.
        unit: a step of the grid.

    Raises:
        ConfigError: more are counted on than there may be.

    Example:
        >>> given = Privacy("client", clip=3.0, noise_multiplier=2.0, colluders=1)
        >>> deviation(given, 5, 2.0**-37)
        3.0
    """
    there = threshold - given.colluders
    honest = given.honest or there
    if not 1 <= honest <= there:
        raise ConfigError(
            f"privacy.honest is {honest}, allowed: 1 to {there}: {threshold} survive "
            f"at least, of whom {given.colluders} may collude"
        )
    whole = (given.noise_multiplier * given.clip) ** 2
    return math.sqrt((whole + (lattices.ROUNDED * unit) ** 2) / honest)


def check(terms: Terms) -> None:
    """See that a client's clipped change and its noise always fit into the fields.

    Raises:
        ConfigError: the message names the key.
    """
    unit = math.ldexp(1.0, terms.exponent - terms.fraction)
    steps, bound = terms.noise / unit, math.ldexp(1.0, terms.exponent)
    if steps < lattices.LEAST:
        raise ConfigError(
            f"each client's noise would be {steps:.3g} steps of the grid, "
            f"{lattices.LEAST:g} are needed: lower privacy.bound or take lane = 64"
        )
    wanted = terms.clip + unit * lattices.most(steps)
    if wanted > bound:
        raise ConfigError(
            f"privacy.bound is {bound:g}: a change and its noise may come to "
            f"{wanted:.4g}: raise it"
        )


def state(terms: Terms) -> State:
    """The state that terms speak of, with or without noise."""
    found = State.of(terms)
    return Portioned(found.recipe, terms) if terms.clip else found


@dataclass(frozen=True, slots=True)
class Portioned(State):
    """How a round's sums lie in fields where clients add noise to them.

    Every sum is signed, for noise is: each contribution is moved up by the bound.
    """

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is summed."""
        return kinds(self.recipe)

    @property
    def values(self) -> Lanes:
        """One word a sum."""
        one = 1 << self.terms.fraction
        fields = tuple(Field(name, 2 * one) for name in self.kinds)
        return Lanes(self.terms.lane, fields, self.terms.total, len(self.terms.names))

    def written(self, values: Floats, share: int) -> Numbers:
        """One contribution, clipped, in fields [fields, n]: without noise yet.

        Values that are not finite make it count for nothing.
        """
        bounded = self._clipped(values)
        parts = [bounded] if self.kinds == (SUM,) else [bounded, -bounded]
        one = share << self.terms.fraction
        rows = [p if len(parts) == 1 else np.maximum(p, 0.0) for p in parts]
        return np.stack([(row.astype(np.int64) + one) for row in rows]).astype(
            np.uint64
        )

    def noised(self, numbers: Numbers, secret: Secret) -> Numbers:
        """Fields with this client's portion of noise on each sum."""
        unit = math.ldexp(1.0, self.terms.exponent - self.terms.fraction)
        found = numbers.astype(np.int64)
        for name, row in zip(self.kinds, found, strict=True):
            source = secret.of(name)
            for place, first in enumerate(range(0, row.size, _SPAN)):
                some = row[first : first + _SPAN]
                steps = self.terms.noise / unit
                some += lattices.discrete(source, place, some.size, steps)
        return found.astype(np.uint64)

    def read(self, numbers: Numbers, total: int) -> Planes:
        """[fields, n] the sums, signed, all shares being `total`."""
        found: Planes = numbers.astype(np.int64) - (total << self.terms.fraction)
        return found

    def finish(self, planes: Planes, total: int) -> Floats:  # noqa: ARG002
        """[n] the merge: what is noisy is elected and divided by who was asked."""
        unit = math.ldexp(self.recipe.gain, self.terms.exponent - self.terms.fraction)
        divisor = 1 if self.reducer.adds else len(self.terms.names)
        sums = planes.astype(np.float64)
        if len(sums) == 1:
            read = sums[0]
        else:
            read = np.where(sums[0] > sums[1], sums[0], -sums[1])
        found: Floats = (read * (unit / divisor)).astype(np.float32)
        return found

    def _clipped(self, values: Floats) -> Reals:
        """[n] whole numbers of norm at most the clip, in steps of the grid."""
        scale = math.ldexp(1.0, self.terms.fraction - self.terms.exponent)
        wide = values.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            norm = math.sqrt(float(np.sum(wide * wide)))
        most = gain(norm, self.terms.clip)
        found: Reals = np.zeros_like(wide)
        return np.trunc(wide * (most * scale), out=found) if most else found


def coordinates(
    change: Mapping[str, Floats], pairs: Sequence[Pair], start: Mapping[str, Floats]
) -> dict[str, Floats]:
    """A change in which every frozen pair is given in its product's own norm.

    Args:
        change: by name: B of each pair [out, r], and what is dense.
        pairs: which are low-rank, A [r, in] frozen.
        start: A, by name.

    Raises:
        ConfigError: a rank above what its layer takes in.
    """
    found = dict(change)
    for pair in pairs:
        made = turned(change[pair.b], pair.scaling, start[pair.a])
        if made.shape != change[pair.b].shape:
            raise ConfigError(f"{pair.weight} takes in fewer than lora.rank: lower it")
        found[pair.b] = made
    return found


def factors(
    merged: Mapping[str, Floats], pairs: Sequence[Pair], start: Mapping[str, Floats]
) -> dict[str, Floats]:
    """What `coordinates` stand for: B, with its scaling in it."""
    found = dict(merged)
    for pair in pairs:
        found[pair.b] = unturned(merged[pair.b], start[pair.a])
    return found

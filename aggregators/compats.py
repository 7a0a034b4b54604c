"""Merges as other code bases compute them, in float32, for parity and for habit.

What they do apart from `ties` here:

======== =================== ================= ============ ====================
by       kept                weights           zero sum     mean over
======== =================== ================= ============ ====================
mergekit max(1, int(d n))    before election   positive     weight that agrees
peft     int(d n)            after election    positive     members that agree
paper    the int(d N) + 1    none              as most      members that agree
         largest of all and
         what equals them
======== =================== ================= ============ ====================

Of equal magnitudes those that come first are kept (the peers leave that open). All
need the cohort.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ..protocols import seeds
from ..protocols.errors import ConfigError
from ..protocols.vectors import Contribution, Floats
from .base import Key, Member, Reducer, Transform
from .cohorts import Reals, Rows, by_rows, gathered, rows
from .rewrites import rewriting, written
from .scopes import magnitudes
from .transforms import drop, fraction
from .views import Cut, Trimmed

Made = tuple[tuple[Transform, ...], Reducer]


def top(density: float, least: int = 0) -> Transform:
    """Keep the max(least, int(density n)) largest magnitudes of each tensor."""
    fraction(density, "trim")

    def make(name: str, value: Floats, key: Key) -> Floats:  # noqa: ARG001
        count = max(least, int(density * value.size))
        order = np.argsort(-np.abs(value.reshape(-1)), kind="stable")
        out = np.zeros(value.size, np.float32)
        out[order[:count]] = value.reshape(-1)[order[:count]]
        return out.reshape(value.shape)

    return rewriting(f"top({density!r}, {least})", make)


def mergekit_agreed(election: str, *, normalize: bool) -> Reducer:
    """The sign consensus of mergekit: what sums to 0 goes up, weights first.

    Args:
        election: "mass" (its "sum") or "count".
        normalize: divide by the weight that agrees.
    """

    def rule(values: Reals, shares: Reals) -> Reals:
        weights = shares[:, np.newaxis]
        scaled = values * weights
        votes = scaled if election == "mass" else np.sign(scaled)
        elected = np.where(votes.sum(0) >= 0, 1, -1)
        agree = np.sign(scaled) == elected
        total: Reals = (scaled * agree).sum(0)
        if not normalize:
            return total
        weight = (weights * agree).sum(0)
        mean: Reals = total / np.where(weight == 0, 1, weight)
        return mean

    return by_rows(
        f"mergekit_agreed({election}, {normalize})", rule, adds=not normalize
    )


def _mergekit(density: float, election: str) -> Made:
    before = () if density == 1 else (top(density, 1),)
    return before, mergekit_agreed(election, normalize=True)


def _peft(density: float, election: str) -> Made:
    def rule(values: Reals, shares: Reals) -> Reals:
        votes = values if election == "mass" else np.sign(values)
        agree = np.sign(values) == np.where(votes.sum(0) >= 0, 1, -1)
        total: Reals = (values * shares[:, np.newaxis] * agree).sum(0)
        mean: Reals = total / np.maximum(agree.sum(0), 1)
        return mean

    before = () if density == 1 else (top(density),)
    return before, by_rows(f"peft_agreed({election})", rule, adds=True)


def _paper(density: float, election: str) -> Made:
    def merge(members: Sequence[Member], key: Key) -> Contribution:  # noqa: ARG001
        layout = members[0].contribution.layout
        votes = 0.0
        for span in layout.spans:
            votes += float(np.sign(_ahead(rows(members, span), election)).sum())
        most = np.sign(votes)

        def rule(values: Reals, shares: Reals) -> Reals:  # noqa: ARG001
            ahead = np.sign(_ahead(values, election))
            elected = np.where(ahead == 0, most, ahead)
            agree = np.where(elected > 0, values > 0, values < 0)
            total: Reals = (values * agree).sum(0)
            mean: Reals = total / np.maximum(agree.sum(0), 1)
            return mean

        return Rows(members, rule)

    before = () if density == 1 else (_reaching(density),)
    return before, gathered(f"paper_agreed({election})", merge)


def _ahead(values: Reals, election: str) -> Reals:
    votes: Reals = (values if election == "mass" else np.sign(values)).sum(0)
    return votes


def _reaching(density: float) -> Transform:
    """Keep all that reaches the (N - int(density N))-th smallest of all magnitudes."""
    fraction(density, "trim")

    def apply(contribution: Contribution, key: Key) -> Contribution:  # noqa: ARG001
        layout = contribution.layout
        size = layout.size
        bits = [magnitudes(contribution, place) for place in range(len(layout.spans))]
        held = np.concatenate([*bits, np.zeros(0, np.uint32)])
        absent = size - held.size  # what a sparse contribution left out is 0
        place = max(size - int(density * size), 1) - 1 - absent
        threshold = int(np.partition(held, place)[place]) if place >= 0 else 0
        return Trimmed(contribution, (Cut(threshold),) * len(layout.names), {})

    return Transform(f"reaching({density!r})", apply)


PEERS: dict[str, Callable[[float, str], Made]] = {
    "mergekit": _mergekit,
    "peft": _peft,
    "paper": _paper,
}


def drop_to(density: float, rescale: str) -> Transform:
    """`drop`, rescaled to "mean" (1 / density), "l1" (each tensor's norm) or "none".

    Raises:
        ConfigError: no such rescaling.
    """
    if rescale in ("mean", "none"):
        return drop(density, rescale=rescale == "mean")
    if rescale != "l1":
        raise ConfigError(f"rescale is {rescale!r}, allowed: mean, l1, none")
    fraction(density, "drop")

    def make(name: str, value: Floats, key: Key) -> Floats:
        mask = seeds.keep(key.seed("drop", name), 0, value.size, density)
        return to_l1(value, np.where(mask.reshape(value.shape), value, 0))

    return rewriting(written("drop_l1", density=density), make)


def to_l1(before: Floats, after: Floats) -> Floats:
    """What is left of a tensor, scaled to the L1 norm that it had.

    As it is where either norm is below 1e-7.
    """
    norms = [float(np.abs(one).sum(dtype=np.float64)) for one in (before, after)]
    factor = 1.0 if min(norms) < _SMALL else norms[0] / norms[1]
    return (after * np.float64(factor)).astype(np.float32)


_SMALL = 1e-7

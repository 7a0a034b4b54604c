"""What a step of the sums is worth, tensor by tensor, and how long a word must be.

A value x counts for ``share * rint(x 2^(f - e))`` steps (see `scales`). What payloads
hold are small integers times a power of two, so that most of those bits are zeros
below the last that any member has: leaving them out gives the same sums in words of
32 bits, as long as what all members together could come to fits. Reading the sums off
multiplies by a power of two more, which changes no bit of the result.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..protocols.payloads import Payload
from .scales import PACKED, known
from .sources import Work

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

POINT = 9
"""A byte's number times 2^9 is a whole one."""

_PACKED_AT = 54
_SHORT, _LONG = 32, 64


class Units(NamedTuple):
    """By tensor, in which words sums are kept.

    Attributes:
        short: [T] whether 32 bits are enough.
        exact: [T] whether codes are shifted; otherwise they are scaled and rounded.
        shifts: [K, T] by how much, from their multiples of 2^-9 on.
        scales: [T] steps that a value of 1 is, where they are scaled.
        worths: [T] what a step is worth in the result.
        heights: [T] the bit from which on a word holds weights, of the agreed mean.
    """

    short: npt.NDArray[np.bool_]
    exact: npt.NDArray[np.bool_]
    shifts: Integers
    scales: Reals
    worths: Reals
    heights: Integers


def units(work: Work, sources: Sequence[Payload], *, coded: bool) -> Units | None:
    """The words for a merge of payloads; None where 64 bits are not enough.

    Args:
        work: all of its members are payloads, times gains.
        sources: they, without their gains.
        coded: whether they hold bytes, not halves.
    """
    count, spans = len(work.layout.names), _exponents(work)
    if spans is None:
        return None
    fraction, two = work.numbers.fraction, work.reducer.loop != "sum"
    gains = np.array([one.gain if one else 0.0 for one in work.leaves], np.float32)
    parts, times = np.frexp(gains)
    held = np.array([one.streams.tables.exponents for one in sources], np.int64)
    held = held.reshape(len(sources), count) + (times - 1)[:, np.newaxis] - POINT
    some = np.array([one.peaks for one in sources]).reshape(len(sources), count) > 0
    low = np.where(some.any(0), np.where(some, held, 1 << 20).min(0), spans - fraction)
    most, bits = _most(work, sources, gains, low)
    exact = np.full(count, coded and bool((parts == 0.5).all()))  # noqa: PLR2004
    exact &= (low + fraction >= spans) & (most < 2.0 ** (_LONG - 1 - two * bits))
    if two and work.numbers.total > PACKED and not exact.all():
        return None
    short = exact & (most < 2.0 ** (_SHORT - (bits if two else 1)))
    heights = np.where(short, _SHORT, _LONG) - bits
    worths = np.ldexp(float(work.gain), spans - fraction)
    if not two:
        worths /= 1.0 if work.reducer.adds else float(max(sum(work.shares), 1))
    return Units(
        short,
        exact,
        np.where(some & exact, held - low, 0),
        np.ldexp(1.0, fraction - spans),
        np.ldexp(worths, np.where(exact, low + fraction - spans, 0)),
        np.where(exact, heights, _PACKED_AT),
    )


def _exponents(work: Work) -> Integers | None:
    """[T] what bounds magnitudes; None where it is another one by span."""
    layout, agreed = work.layout, np.array(work.numbers.exponents, np.int64)
    if not agreed.size:
        tops = [known(one.contribution) for one in work.members]
        peak = np.array([top for top in tops if top is not None], np.float32)
        found: Integers = np.frexp(peak.max(0))[1].astype(np.int64)
        return found
    owners = np.array([span.tensor for span in layout.spans], np.int64)
    found = np.zeros(len(layout.names), np.int64)
    found[owners] = agreed
    return found if bool((found[owners] == agreed).all()) else None


def _most(
    work: Work,
    sources: Sequence[Payload],
    gains: npt.NDArray[np.float32],
    low: Integers,
) -> tuple[Reals, int]:
    """[T] what a sum of magnitudes can come to, in steps of 2^low; a weight's bits."""
    most = np.zeros(low.size)
    for share, gain, one in zip(work.shares, gains.tolist(), sources, strict=True):
        most += abs(share) * np.ldexp(one.peaks * gain, -low)
    return most, sum(abs(share) for share in work.shares).bit_length()

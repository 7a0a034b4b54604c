"""Which magnitude is the k-th largest: exact, in about two reads, in little memory.

A sample says between which two magnitudes it must lie; one pass counts what is above
and sets aside what is between, of which the right one is then picked. Where the sample
misled, two more passes count by the upper and the lower half of the bits.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..protocols.vectors import Floats
from .kernels import INFINITE, compiled
from .pointers import compared, fetch, lowest, ones
from .strips import AHEAD

Bits = npt.NDArray[np.uint32]
Read = Callable[[], Iterator[Floats]]

_SIZE = np.uint32(0x7FFFFFFF)
_0, _1 = np.uint64(0), np.uint64(1)
_LANES = 16
_STEP = 64
_EVERY, _TAKEN = 4096, 64
_SMALL = 1 << 15
_SPREAD = 4.5
"""Standard deviations of a sampled rank between which the true one is looked for."""


@dataclass(frozen=True, slots=True)
class Rank:
    """Where to cut so that at most k magnitudes stay.

    Attributes:
        least: the smallest magnitude that stays, as float32 bits; 1: all but zeros.
        ties: how many that equal it stay; -1: all of them do.
        peak: the largest, or `INFINITE` or above where one is not finite.
    """

    least: int
    ties: int
    peak: int


def ranked(read: Read, size: int, most: int, scratch: Bits) -> Rank:
    """The cut for a tensor.

    Args:
        read: its values, run by run, from the start each time.
        size: how many there are.
        most: k, at least 1.
        scratch: room for what is set aside; too little of it costs passes.
    """
    if most >= size:
        return _counted(read, most)
    low, high = (1, int(INFINITE)) if size <= _SMALL else _bracket(read, size, most)
    above = found = 0
    tops = np.zeros(_LANES, np.uint32)
    for values in read():
        words = values.view(np.uint32)
        more, found = sift(words, (low, high), tops, scratch, found)
        above += more
        if found < 0:
            return _counted(read, most)
    top = int(tops.max())
    if top >= INFINITE:
        return Rank(1, -1, top)
    if not above < most <= above + found:
        return _counted(read, most)
    held, at = scratch[:found], found - (most - above)
    held.partition(at)
    least = held[at]
    inside = int(np.count_nonzero(held[at:] == least))
    below = int(np.count_nonzero(held[:at] == least))
    return Rank(int(least), inside if below else -1, top)


def room(size: int) -> int:
    """How much scratch is enough for nearly all tensors of a size."""
    return size if size <= _SMALL else max(_SMALL, size // 16)


def _bracket(read: Read, size: int, most: int) -> tuple[int, int]:
    """Magnitudes between which the k-th largest should lie."""
    parts = []
    for values in read():
        whole = values.size - values.size % _EVERY
        parts.append(values[:whole].reshape(-1, _EVERY)[:, :_TAKEN].reshape(-1))
        parts.append(values[whole : whole + _TAKEN].copy())
    drawn = np.concatenate(parts).view(np.uint32) & _SIZE
    drawn.sort()
    share = most / size
    middle = (1 - share) * drawn.size
    spread = _SPREAD * math.sqrt(share * (1 - share) * drawn.size) + 2
    first, last = math.floor(middle - spread), math.ceil(middle + spread)
    low = int(drawn[first]) if first >= 0 else 1
    high = int(drawn[last]) + 1 if last < drawn.size else int(INFINITE)
    return max(low, 1), high


def _counted(read: Read, most: int) -> Rank:
    """The cut, by counting halves of the bits."""
    counts = np.zeros(1 << 16, np.int64)
    zeros = top = 0
    for values in read():
        more, peak = count_upper(values.view(np.uint32), counts)
        zeros, top = zeros + more, max(top, peak)
    if top >= INFINITE or most >= int(counts.sum()) - zeros:
        return Rank(1, -1, top)
    upper, left = _picked(counts, most)
    counts[:] = 0
    for values in read():
        count_lower(values.view(np.uint32), upper, counts)
    lower, ties = _picked(counts, left)
    return Rank(upper << 16 | lower, ties if counts[lower] > ties else -1, top)


def _picked(counts: npt.NDArray[np.int64], most: int) -> tuple[int, int]:
    """Of which bin the k-th largest is, and the how many-th within it."""
    above = np.cumsum(counts[::-1])
    at = int(np.searchsorted(above, most))
    return counts.size - 1 - at, most - int(above[at] - counts[::-1][at])


@compiled
def sift(words: Any, between: Any, tops: Any, out: Any, found: Any) -> Any:
    """Count magnitudes from `high` up; set aside those from `low` up to below it.

    Args:
        words: float32 values' bits.
        between: (low, high).
        tops: [16] where the largest is kept, in any of them.
        out: where those between go, from `found` on.
        found: how many are there already.

    Returns:
        How many are above; how many were set aside in all, -1: no room.
    """
    low, high = np.int32(between[0]), np.int32(between[1])
    above: Any = _0
    here, peaks = np.int64(words.ctypes.data), np.int64(tops.ctypes.data)
    whole = words.size - words.size % _STEP
    for first in range(0, whole, _STEP):
        if found + _STEP > out.size:
            return np.int64(above), -1
        place = here + 4 * first
        for line in range(0, 4 * _STEP, 64):
            fetch(place + AHEAD + line)
        reach, beyond = compared(place, low, high, peaks)
        above += ones(beyond)
        left = reach ^ beyond
        while left != _0:
            out[found] = words[first + np.int64(lowest(left))] & _SIZE
            found += 1
            left &= left - _1
    for i in range(whole, words.size):
        size = words[i] & _SIZE
        tops[0] = max(tops[0], size)
        above += np.uint64(size >= high)
        if low <= size < high:
            if found == out.size:
                return np.int64(above), -1
            out[found] = size
            found += 1
    return np.int64(above), found


@compiled
def count_upper(words: Any, counts: Any) -> Any:
    """Count by the upper 16 bits of the magnitude; zeros, and the largest."""
    zeros: Any = np.int64(0)
    top: Any = np.uint32(0)
    for i in range(words.size):
        size = words[i] & _SIZE
        top = max(top, size)
        zeros += np.int64(size == 0)
        counts[size >> np.uint32(16)] += 1
    return zeros, top


@compiled
def count_lower(words: Any, upper: Any, counts: Any) -> None:
    """Count by the lower 16 bits what has certain upper ones."""
    wanted = np.uint32(upper)
    for i in range(words.size):
        if (words[i] & _SIZE) >> np.uint32(16) == wanted:
            counts[words[i] & np.uint32(0xFFFF)] += 1

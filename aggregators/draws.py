"""The compiled loops that merge halves at places drawn by seed, all members at once.

Nothing of a mask travels, so its places are drawn again here, a block at a time: first
all words of a block, then their remainders, then what the values add, each without a
branch, and at last the sums. A mask that members share is drawn once.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..protocols import masks
from .batches import read
from .kernels import compiled
from .pointers import carray, pointer

BLOCK = 1024
LONGEST = 1 << 16
"""Strata up to so many coordinates are drawn here."""

_HIGH = 2.0**32
_REBIASED = np.float32(2.0**112)  # a half's bits, as the upper bits of a float32's
_ROOM = 1 << 16

Places = npt.NDArray[np.int32]


def scratch() -> tuple[Places, npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Places and terms of a block, and its values."""
    values = np.zeros(BLOCK, np.float32)
    return np.zeros(BLOCK, np.int32), np.zeros(BLOCK, np.int64), values


@compiled
def strata(key: Any, first: Any, every: Any, base: Any, out: Any) -> None:
    """The places of the strata from `first` on, counted from `base`, to out [n] int32.

    The remainder of a word by `every` is that of its upper half times the remainder of
    2^32, plus its lower half: below 2^48. Half of one more keeps what float64 divides
    far enough from whole numbers to be rounded down to the right one.
    """
    step, inverse = np.float64(every), 1.0 / every
    times = np.uint64(np.int64(_HIGH) % every) & np.uint64(0xFFFFFFFF)
    for i in range(out.size):
        z = masks.word(key, first + i)
        x = (z >> np.uint64(32)) * times + (z & np.uint64(0xFFFFFFFF))
        whole = np.float64(np.int64(x))
        rest = whole - np.floor((whole + 0.5) * inverse) * step
        out[i] = np.int32(rest) + np.int32((first + i) * every - base)


@compiled
def chances(key: Any, first: Any, density: Any, base: Any, out: Any) -> Any:
    """The kept ones of `BLOCK` coordinates from `first` on; gives how many."""
    found = np.int64(0)
    for i in range(first, first + out.size):
        out[found] = i - base
        found += np.int64(masks.share(key, i) < density)
    return found


@compiled
def _terms(halves: Any, how: Any, pairs: Any, room: Any) -> None:
    """What a block's values add; places are made those of their side."""
    low, high = halves
    unit, gain, scale, share, weight = how
    places, terms, values = room
    words = values.view(np.uint32)
    for i in range(low.size):
        half = np.uint32(low[i]) | np.uint32(high[i]) << np.uint32(8)
        size = (half & np.uint32(0x7FFF)) << np.uint32(13)
        words[i] = size | (half & np.uint32(0x8000)) << np.uint32(16)
    if pairs:
        for i in range(low.size):
            x = values[i] * _REBIASED * unit * gain
            steps = np.int64(np.rint(np.float64(abs(x)) * scale))
            terms[i] = share * steps + (weight if x != 0 else 0)
            places[i] = places[i] << np.int32(1) | np.int32(x < 0)
    else:
        for i in range(low.size):
            x = values[i] * _REBIASED * unit * gain
            terms[i] = share * np.int64(np.rint(np.float64(x) * scale))


@compiled
def _block(
    batch: Any, units: Any, rule: Any, where: Any, drawn: Any, sums: Any
) -> None:
    """Add a block's values, whose places are drawn."""
    k, t, low, high = where
    places, terms, values = drawn
    size = places.size
    unit = np.float32(math.ldexp(1.0, batch.exponents[k, t]))
    weight = batch.shares[k] << units.heights[t] if rule.pairs else np.int64(0)
    how = (unit, batch.gains[k], units.scales[t], batch.shares[k], weight)
    lows = carray(pointer(batch.places[0, k] + low), size, np.uint8)
    highs = carray(pointer(batch.places[1, k] + high), size, np.uint8)
    _terms((lows, highs), how, rule.pairs, (places, terms[:size], values[:size]))
    for i in range(size):
        sums[np.uint64(np.uint32(places[i]))] += terms[i]


@compiled
def _span(how: Any, s: Any, draw: Any, room: Any) -> None:
    """Add one span of every member."""
    batch, units, part, rule = how
    every, density = draw
    sums, (places, terms, values), used = room
    t, start, size = part.tensors[s], part.starts[s], part.sizes[s]
    first, last = start, start + size
    if every:
        first, last = start // every, (start + size - 1) // every + 1
    used[:] = 0
    for at in range(first, last, BLOCK):
        count, begin = min(BLOCK, last - at), np.int64(0)
        end = np.int64(0)
        for k in range(batch.shares.size):
            key = batch.keys[k, t]
            if every:
                strata(key, at, every, start, places[:count])
                begin = np.int64(places[0] < 0)
                end = count - np.int64(places[count - 1] >= size)
            else:
                end = chances(key, at, density, start, places[:count])
            low = batch.codes[k, part.first + s] + used[k]
            high = batch.gaps[k, part.first + s] + used[k]
            left = batch.codes[k, part.first + s + 1] - low
            end = min(end, begin + left)
            drawn = (places[begin:end], terms, values)
            _block(batch, units, rule, (k, t, low, high), drawn, sums)
            used[k] += end - begin


@compiled
def merge_drawn(  # noqa: PLR0913, PLR0917 - a loop's arrays
    batch: Any, units: Any, part: Any, rule: Any, draw: Any, room: Any, out: Any
) -> None:
    """Merge spans of payloads of halves at drawn places.

    Args:
        batch: the members.
        units: how long words are: 64 bits.
        part: which spans.
        rule: how they are merged.
        draw: (one of so many is kept, or 0: each with the density; the density).
        room: (sums, with 2^16 coordinates behind the last; `scratch`; [K] int64).
        out: [n] float32, all spans' coordinates.
    """
    long, drawn, used = room
    at = np.int64(0)
    for s in range(part.sizes.size):
        size = part.sizes[s]
        first = (at if part.whole else 0) << np.int64(rule.pairs)
        sums = long[first : first + (_ROOM << np.int64(rule.pairs))]
        if part.opens:
            sums[: size << np.int64(rule.pairs)] = 0
        _span((batch, units, part, rule), s, draw, (sums, drawn, used))
        if part.closes:
            t = part.tensors[s]
            read(units, t, rule, sums, out[at : at + size])
        at += size

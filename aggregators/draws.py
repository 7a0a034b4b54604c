"""The compiled loops that merge halves at places drawn by seed, all members at once.

Nothing of a mask travels, so its places are drawn again here, a block at a time: first
all words of a block and their remainders, then what the values add, each without a
branch, and at last the sums. A block is so short that its sums stay in the first-level
cache while all members add to them; what the next members hold is asked for meanwhile.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..protocols import masks, seeds
from . import kernels
from .batches import read
from .kernels import compiled, fused, inlined
from .pointers import carray, fetch, pointer, wide
from .strips import EVEN, WHOLE

BLOCK = 1024
NEAR = 4096
"""Words of sums that the strata of a block are for, about;"""
LEAST = 128
"""but so many strata it has at least,"""
EVENLY = -64
"""and a multiple of what loops do at once."""
LONGEST = 1 << 16
"""Strata up to so many coordinates are drawn here."""

_HIGH = 2.0**32
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_REBIASED = np.float32(2.0**112)  # a half's bits, as the upper bits of a float32's
_ROOM = 1 << 16
_SOON = 2

Places = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]
Scratch = tuple[Places, npt.NDArray[np.int64], npt.NDArray[np.float32], Words]


def scratch() -> Scratch:
    """Places, terms and values of a block; how far its words' seeds lie apart."""
    values = np.zeros(BLOCK, np.float32)
    gaps = np.arange(BLOCK, dtype=np.uint64) * seeds.GAMMA
    return np.zeros(BLOCK, np.int32), np.zeros(BLOCK, np.int64), values, gaps


@fused
def strata(key: Any, row: Any, every: Any, base: Any, gaps: Any, out: Any) -> None:
    """The places of strata from a row on, counted from `base`, to out [n] int32.

    The remainder of a word by `every` is that of its upper half times the remainder of
    2^32, plus its lower half: below 2^48. Half of one more than that, less a half, is
    for float64 far enough from what lies between two whole numbers.
    """
    wide()
    step, inverse = np.float64(every), 1.0 / every
    times = np.uint64(np.int64(_HIGH) % every) & _LOW
    begun, less = masks.begun(key, row), 0.5 * inverse - 0.5
    for i in range(out.size):
        z = masks.mixed(begun + gaps[i])
        whole = np.float64(np.int64((z >> _HALF) * times + (z & _LOW)))
        rest = whole - (((whole * inverse + less) + EVEN) - EVEN) * step
        out[i] = np.int32(rest)
    first, stride = np.int32(row * every - base), np.int32(every)
    for i in range(out.size):
        out[i] += first + np.int32(i) * stride


@compiled
def chances(key: Any, first: Any, density: Any, base: Any, out: Any) -> Any:
    """The kept ones of `BLOCK` coordinates from `first` on; gives how many."""
    found = np.int64(0)
    for i in range(first, first + out.size):
        out[found] = i - base
        found += np.int64(masks.share(key, i) < density)
    return found


@fused
def unpacked(low: Any, high: Any, values: Any) -> None:
    """Halves [n], by their bytes, as float32: 2^-112 times what they are."""
    wide()
    words = values.view(np.uint32)
    for i in range(words.size):
        half = np.uint32(low[i]) | np.uint32(high[i]) << np.uint32(8)
        size = (half & np.uint32(0x7FFF)) << np.uint32(13)
        words[i] = size | (half & np.uint32(0x8000)) << np.uint32(16)


@fused
def _reals(how: Any, values: Any, terms: Any) -> None:
    """What values add, as float64."""
    wide()
    unit, gain, scale, share, _ = how
    times = np.float64(share)
    for i in range(terms.size):
        x = np.float64(values[i] * _REBIASED * unit * gain)
        terms[i] = times * ((x * scale + EVEN) - EVEN)


@compiled
def _whole(how: Any, values: Any, terms: Any) -> None:
    """The same as int64."""
    unit, gain, scale, share, _ = how
    for i in range(terms.size):
        x = np.float64(values[i] * _REBIASED * unit * gain)
        terms[i] = share * np.int64(np.rint(x * scale))


@fused
def _sided(how: Any, values: Any, terms: Any, places: Any) -> None:
    """Magnitudes below weights, as int64; places become those of their side."""
    wide()
    unit, gain, scale, share, weight = how
    times = np.float64(share)
    for i in range(terms.size):
        x = values[i] * _REBIASED * unit * gain
        steps = (abs(np.float64(x)) * scale + WHOLE) - WHOLE
        terms[i] = np.int64(times * steps) + (weight if x != 0 else 0)
        places[i] = places[i] << np.int32(1) | np.int32(x < 0)


@compiled
def _put(places: Any, terms: Any, sums: Any) -> None:
    for i in range(terms.size):
        sums[np.uint64(np.uint32(places[i]))] += terms[i]


@inlined
def _lying(batch: Any, at: Any, k: Any, used: Any) -> Any:
    """Where a member's next values of a span are, by their bytes; how many are left."""
    code, gap = batch.codes[k, at], batch.gaps[k, at]
    left = batch.codes[k, at + 1] - code - used[k]
    low, high = batch.places[0, k] + code, batch.places[1, k] + gap
    return low + used[k], high + used[k], left


@inlined
def _soon(batch: Any, at: Any, k: Any, used: Any, count: Any) -> None:
    """Have the cache fetch what a later member's block is made from."""
    low, high, _ = _lying(batch, at, min(k, used.size - 1), used)
    for line in range(0, count + 63, 64):
        fetch(low + line)
        fetch(high + line)


@inlined
def _add(rule: Any, how: Any, lies: Any, drawn: Any, sums: Any) -> None:
    """Add a block's values, whose places are drawn."""
    places, terms, values, reals, size = drawn
    here = carray(pointer(places), size, np.int32)
    low = carray(pointer(lies[0]), size, np.uint8)
    high = carray(pointer(lies[1]), size, np.uint8)
    held = carray(pointer(values), size, np.float32)
    unpacked(low, high, held)
    if rule.pairs:
        found = carray(pointer(terms), size, np.int64)
        _sided(how, held, found, here)
        _put(here, found, sums)
    elif rule.real:
        some = carray(pointer(terms), size, np.float64)
        _reals(how, held, some)
        _put(here, some, reals)
    else:
        found = carray(pointer(terms), size, np.int64)
        _whole(how, held, found)
        _put(here, found, sums)


@inlined
def _extent(start: Any, size: Any, every: Any, pairs: Any) -> Any:
    """A span's first stratum or coordinate, that behind the last, and a block's."""
    if every == 0:
        return start, start + size, np.int64(BLOCK)
    block = max(np.int64(LEAST), (NEAR >> np.int64(pairs)) // every & EVENLY)
    last = (start + size - 1) // every + 1
    return start // every, last, min(np.int64(BLOCK), block)


@compiled
def _span(how: Any, s: Any, draw: Any, room: Any) -> None:
    """Add one span of every member."""
    batch, units, part, rule = how
    every, density = draw
    sums, (places, terms, values, gaps), used = room
    reals, worths = sums.view(np.float64), np.empty(used.size, np.float32)
    t, start, size = part.tensors[s], part.starts[s], part.sizes[s]
    first, last, block = _extent(start, size, every, rule.pairs)
    place, term, value = places.ctypes.data, terms.ctypes.data, values.ctypes.data
    for k in range(used.size):
        used[k], worths[k] = 0, math.ldexp(1.0, batch.exponents[k, t])
    for row in range(first, last, block):
        count, begin = min(block, last - row), np.int64(0)
        likely = count if every else np.int64(count * density)
        here = carray(pointer(place), count, np.int32)
        for k in range(used.size):
            _soon(batch, part.first + s, k + _SOON, used, likely)
            if every:
                strata(batch.keys[k, t], row, every, start, gaps, here)
                begin = np.int64(here[0] < 0)
                end = count - np.int64(here[count - 1] >= size)
            else:
                end = chances(batch.keys[k, t], row, density, start, here)
            lies = _lying(batch, part.first + s, k, used)
            end = min(end, begin + lies[2])
            share = batch.shares[k]
            weight = share << units.heights[t] if rule.pairs else np.int64(0)
            worth = (worths[k], batch.gains[k], units.scales[t], share, weight)
            drawn = (place + 4 * begin, term, value, reals, end - begin)
            _add(rule, worth, lies, drawn, sums)
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
        size, t = part.sizes[s], part.tensors[s]
        first = (at if part.whole else 0) << np.int64(rule.pairs)
        sums = long[first : first + (_ROOM << np.int64(rule.pairs))]
        if part.opens:
            sums[: size << np.int64(rule.pairs)] = 0
        _span((batch, units, part, rule), s, draw, (sums, drawn, used))
        here = out[at : at + size]
        if part.closes and rule.real and not rule.pairs:
            kernels.read_reals(sums[:size].view(np.float64), units.worths[t], here)
        elif part.closes:
            read(units, t, rule, sums, here)
        at += size

"""The compiled loops that fold contributions and read sums off.

All of them work in place on one span that sits in the cache, run without Python's
lock, and choose by selects, not by branches. Fixed point: ``rint(x * scale)``, ties
to even, so that what is folded for -x is minus what is folded for x.

The sums of the agreed mean have one plane a sign, indexed by the sign bit. A packed
plane holds a weight in its upper 10 bits and a sum of magnitudes in its lower 54;
both are far from their limits by construction (`scales.Numbers`).
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

WEIGHT_AT = np.uint64(54)
INFINITE = np.uint32(0x7F800000)
_LOW = np.int64((1 << 54) - 1)
_ZERO = np.uint64(0)


def compiled(function: F) -> F:
    """Compile at the first call, keep the result on disk."""
    made = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    return cast(F, made)


def fused(function: F) -> F:
    """The same where products that are added may stay unrounded: they are exact."""
    made = numba.njit(
        nogil=True, cache=True, error_model="numpy", fastmath={"contract"}
    )(function)
    return cast(F, made)


def inlined(function: F) -> F:
    """Write a loop out where it is called: what it is handed need not be counted."""
    return cast(F, numba.njit(inline="always", error_model="numpy")(function))


@compiled
def peak_bits(bits: Any) -> Any:
    """Largest magnitude as float32 bits: not finite exactly from 0x7F800000 up."""
    top = np.uint32(0)
    for i in range(bits.size):
        top = max(top, bits[i] & np.uint32(0x7FFFFFFF))
    return top


@compiled
def sum_dense(sums: Any, values: Any, scale: Any, share: Any) -> None:
    """Add share * rint(values [n] * scale) to sums [n] int64."""
    for i in range(values.size):
        sums[i] += share * np.int64(np.rint(np.float64(values[i]) * scale))


@compiled
def sum_sparse(sums: Any, positions: Any, values: Any, scale: Any, share: Any) -> None:
    """The same at positions [k] uint16."""
    for i in range(values.size):
        term = share * np.int64(np.rint(np.float64(values[i]) * scale))
        sums[np.int64(positions[i])] += term


@compiled
def read_sum(sums: Any, unit: Any, total: Any, out: Any) -> None:
    """Write sums * (unit / total) to out [n] float32."""
    step = unit / total
    for i in range(out.size):
        out[i] = np.float32(np.float64(sums[i]) * step)


@compiled
def read_reals(sums: Any, step: Any, out: Any) -> None:
    """The same from whole numbers in float64."""
    for i in range(out.size):
        out[i] = np.float32(sums[i] * step)


@compiled
def agree_packed_dense(up: Any, down: Any, values: Any, scale: Any, share: Any) -> None:
    """Add to up, down [n] uint64 weight and magnitude of what pushes that way."""
    weight = share << WEIGHT_AT
    for i in range(values.size):
        x = values[i]
        term = weight + share * np.uint64(np.int64(np.rint(abs(np.float64(x)) * scale)))
        up[i] += term if x > 0 else _ZERO
        down[i] += term if x < 0 else _ZERO


@compiled
def agree_packed_sparse(
    planes: Any, positions: Any, values: Any, scale: Any, share: Any
) -> None:
    """Do the same to planes [2, n] at positions [k] uint16."""
    weight = share << WEIGHT_AT
    for i in range(values.size):
        x = values[i]
        term = weight + share * np.uint64(np.int64(np.rint(abs(np.float64(x)) * scale)))
        row = np.int64(1) if x < 0 else np.int64(0)
        planes[row, np.int64(positions[i])] += term if x != 0 else _ZERO


@compiled
def agree_wide_dense(planes: Any, values: Any, scale: Any, share: Any) -> None:
    """Add to planes [4, n] int64: magnitudes up and down, weights up and down."""
    for i in range(values.size):
        x = values[i]
        term = share * np.int64(np.rint(abs(np.float64(x)) * scale))
        planes[0, i] += term if x > 0 else 0
        planes[1, i] += term if x < 0 else 0
        planes[2, i] += share if x > 0 else 0
        planes[3, i] += share if x < 0 else 0


@compiled
def agree_wide_sparse(
    planes: Any, positions: Any, values: Any, scale: Any, share: Any
) -> None:
    """The same at positions [k] uint16."""
    for i in range(values.size):
        x = values[i]
        place = np.int64(positions[i])
        row = np.int64(1) if x < 0 else np.int64(0)
        planes[row, place] += share * np.int64(np.rint(abs(np.float64(x)) * scale))
        planes[row + 2, place] += share if x != 0 else 0


@compiled
def read_packed(up: Any, down: Any, elect: Any, unit: Any, out: Any) -> None:
    """Write the elected side's mean to out [n] float32; nobody elected, no movement.

    Args:
        up: [n] int64, what pushes up: magnitudes below, weights above.
        down: what pushes down.
        elect: 0: by mass; 2: by weight.
        unit: what a step is worth.
        out: where to.
    """
    for i in range(out.size):
        above = np.int64(np.uint64(up[i]) >> WEIGHT_AT)
        below = np.int64(np.uint64(down[i]) >> WEIGHT_AT)
        rise, fall = up[i] & _LOW, down[i] & _LOW
        ahead = above - below if elect else rise - fall
        total = rise if ahead > 0 else -fall
        weight = above if ahead > 0 else below
        value = np.float64(total) * unit / np.float64(weight if weight > 0 else 1)
        out[i] = np.float32(value if ahead != 0 else 0.0)


@compiled
def read_pairs(pairs: Any, height: Any, elect: Any, unit: Any, out: Any) -> None:
    """The same from pairs of words [2 n], what pushes up before what pushes down.

    Args:
        pairs: int32 or int64, without a sign: weights from a bit on, magnitudes below.
        height: that bit.
        elect: 0: by mass; 2: by weight.
        unit: what a step is worth.
        out: where to.
    """
    low = (np.int64(1) << height) - 1
    most = (np.int64(1) << (8 * pairs.itemsize - height)) - 1
    for i in range(out.size):
        up, down = np.int64(pairs[2 * i]), np.int64(pairs[2 * i + 1])
        rise, fall = up & low, down & low
        above, below = (up >> height) & most, (down >> height) & most
        ahead = above - below if elect else rise - fall
        total = rise if ahead > 0 else -fall
        weight = above if ahead > 0 else below
        value = np.float64(total) * unit / np.float64(weight if weight > 0 else 1)
        out[i] = np.float32(value if ahead != 0 else 0.0)


@compiled
def read_wide(planes: Any, elect: Any, unit: Any, out: Any) -> None:
    """The same from four planes [n]: magnitudes up and down, weights up and down."""
    up, down, above, below = planes
    for i in range(out.size):
        mass, count = up[i] - down[i], above[i] - below[i]
        ahead = count if elect else mass
        total = up[i] if ahead > 0 else -down[i]
        weight = above[i] if ahead > 0 else below[i]
        value = np.float64(total) * unit / np.float64(weight if weight > 0 else 1)
        out[i] = np.float32(value if ahead != 0 else 0.0)


@compiled
def gather(values: Any, places: Any, gain: Any, out: Any) -> Any:
    """Write values at places, times a gain; gives the peak's bits of all values."""
    for i in range(places.size):
        out[i] = values[places[i]] * gain
    return peak_bits(values.view(np.uint32))


@compiled
def trim(values: Any, threshold: Any, ties: Any, out: Any) -> Any:
    """Keep what exceeds a threshold (as float32 bits), and the first `ties` equal it.

    Returns how many of the ties were used up.
    """
    bits = values.view(np.uint32)
    used = np.int64(0)
    for i in range(values.size):
        size = bits[i] & np.uint32(0x7FFFFFFF)
        equal = size == threshold
        keep = (size > threshold) | (equal & (used < ties))
        used += np.int64(equal & keep)
        out[i] = values[i] if keep else np.float32(0)
    return used


@compiled
def count_equal(words: Any, threshold: Any) -> Any:
    """How many magnitudes equal a threshold, as float32 bits."""
    met = np.int64(0)
    for i in range(words.size):
        met += np.int64((words[i] & np.uint32(0x7FFFFFFF)) == threshold)
    return met


@compiled
def above(values: Any, threshold: Any, out: Any) -> None:
    """Keep what reaches a threshold (as float32 bits)."""
    bits = values.view(np.uint32)
    for i in range(values.size):
        keep = (bits[i] & np.uint32(0x7FFFFFFF)) >= threshold
        out[i] = values[i] if keep else np.float32(0)


@compiled
def shorten(values: Any, spare: Any, out: Any) -> Any:
    """Round values [n] to the upper 16 bits of float32, ties to even.

    Args:
        values: float64 or float32.
        spare: scratch, float32.
        out: [n] uint16.

    Returns:
        The largest magnitude's bits: from 0x7F80 on it is none.
    """
    words = spare.view(np.uint32)
    top = np.uint32(0)
    for first in range(0, out.size, spare.size):
        size = min(spare.size, out.size - first)
        for i in range(size):
            spare[i] = np.float32(values[first + i])
        for i in range(size):
            odd = (words[i] >> np.uint32(16)) & np.uint32(1)
            short = (words[i] + np.uint32(0x7FFF) + odd) >> np.uint32(16)
            top = max(top, short & np.uint32(0x7FFF))
            out[first + i] = short
    return top

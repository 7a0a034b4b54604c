"""The compiled loops that add one member's strip of dense values to sums.

Each tests, scales and rounds without a branch, and gives the strip's peak on the way:
the largest magnitude's bits, before the gain. Rounding is to the nearest whole number,
ties to even, as `numpy.rint` does. Between two pieces of a strip the cache is asked for
what comes a little later: left alone it brings a page's first lines too late.
"""

from typing import Any

import numpy as np

from .kernels import compiled, inlined
from .pointers import carray, fetch, pointer

PIECE = 128
AHEAD = 4096
"""Bytes."""

SIZE = np.uint32(0x7FFFFFFF)
EVEN = 1.5 * 2.0**52
"""Added and taken away it rounds to whole numbers;"""
WHOLE = 2.0**52
"""the same for what is not negative."""


@inlined
def _sum(bits: Any, values: Any, how: Any, sums: Any) -> Any:
    """Add what reaches a cut, times a gain, to sums [n] int64; gives the peak."""
    cut, gain, scale, share = how
    top: Any = np.uint32(0)
    for i in range(bits.size):
        size = bits[i] & SIZE
        top = max(top, size)
        x = np.float64(values[i] * gain) if size >= cut else np.float64(0)
        sums[i] += share * np.int64(np.rint(x * scale))
    return top


@inlined
def _wide(bits: Any, values: Any, how: Any, planes: Any) -> Any:
    """The same to four planes: magnitudes up and down, weights up and down."""
    cut, gain, scale, share = how
    up, down, above, below = planes
    top: Any = np.uint32(0)
    for i in range(bits.size):
        size = bits[i] & SIZE
        top = max(top, size)
        x = values[i] * gain
        x = x if size >= cut else np.float32(0)
        term = share * np.int64(np.rint(abs(np.float64(x)) * scale))
        up[i] += term if x > 0 else 0
        down[i] += term if x < 0 else 0
        above[i] += share if x > 0 else 0
        below[i] += share if x < 0 else 0
    return top


@inlined
def _ask(ahead: Any, first: Any) -> None:
    """Have the cache fetch a piece of float32 values."""
    if ahead:
        for line in range(0, 4 * PIECE, 64):
            fetch(ahead + 4 * first + line)


@compiled
def add_sum(place: Any, size: Any, how: Any, sums: Any, ahead: Any) -> Any:
    """Add a strip to sums [n] int64; gives the largest magnitude's bits.

    Args:
        place: address of n float32 values.
        size: n.
        how: (cut: least magnitude added, as bits; gain; scale; share).
        sums: what to add to.
        ahead: address of what will be read next; 0: nothing.
    """
    top: Any = np.uint32(0)
    bits = carray(pointer(place), size, np.uint32)
    values = carray(pointer(place), size, np.float32)
    for first in range(0, size, PIECE):
        _ask(ahead, first)
        last = min(first + PIECE, size)
        part = bits[first:last]
        top = max(top, _sum(part, values[first:last], how, sums[first:last]))
    return top


@compiled
def add_wide(place: Any, size: Any, how: Any, planes: Any, ahead: Any) -> Any:
    """The same to four planes: magnitudes up and down, weights up and down."""
    top: Any = np.uint32(0)
    bits = carray(pointer(place), size, np.uint32)
    values = carray(pointer(place), size, np.float32)
    up, down, above, below = planes
    for first in range(0, size, PIECE):
        _ask(ahead, first)
        last = min(first + PIECE, size)
        pair = (up[first:last], down[first:last])
        four = (*pair, above[first:last], below[first:last])
        top = max(top, _wide(bits[first:last], values[first:last], how, four))
    return top

"""The compiled loops that add one member's strip of dense values to sums.

Each tests, scales and rounds without a branch, and gives the strip's peak on the way:
the largest magnitude's bits, before the gain. Rounding is to the nearest whole number,
ties to even, as `numpy.rint` does.
"""

from typing import Any

import numpy as np

from .kernels import WEIGHT_AT, compiled

SIZE = np.uint32(0x7FFFFFFF)
_EVEN = 1.5 * 2.0**52  # added and taken away it rounds to whole numbers
_WHOLE = 2.0**52  # the same for what is not negative


@compiled
def add_whole(bits: Any, scale: Any, share: Any, sums: Any) -> Any:
    """Add all to sums [n] float64; gives the largest magnitude's bits."""
    values = bits.view(np.float32)
    top: Any = np.uint32(0)
    for i in range(bits.size):
        top = max(top, bits[i] & SIZE)
        sums[i] += share * ((np.float64(values[i]) * scale + _EVEN) - _EVEN)
    return top


@compiled
def add_real(bits: Any, cut: Any, gain: Any, scale: Any, share: Any, sums: Any) -> Any:
    """Add what reaches a cut, times a gain; the peak is that before the gain."""
    values = bits.view(np.float32)
    top: Any = np.uint32(0)
    for i in range(bits.size):
        size = bits[i] & SIZE
        top = max(top, size)
        x = np.float64(values[i] * gain) if size >= cut else np.float64(0)
        sums[i] += share * ((x * scale + _EVEN) - _EVEN)
    return top


@compiled
def add_sum(bits: Any, cut: Any, gain: Any, scale: Any, share: Any, sums: Any) -> Any:
    """The same to sums [n] int64."""
    values = bits.view(np.float32)
    top: Any = np.uint32(0)
    for i in range(bits.size):
        size = bits[i] & SIZE
        top = max(top, size)
        x = np.float64(values[i] * gain) if size >= cut else np.float64(0)
        sums[i] += share * np.int64(np.rint(x * scale))
    return top


@compiled
def add_packed(
    bits: Any, cut: Any, gain: Any, scale: Any, share: Any, planes: Any
) -> Any:
    """The same to two planes by sign, weights in the upper bits."""
    up, down = planes
    values = bits.view(np.float32)
    weight = share << np.int64(WEIGHT_AT)
    times = np.float64(share)
    top: Any = np.uint32(0)
    for i in range(bits.size):
        size = bits[i] & SIZE
        top = max(top, size)
        x = values[i] * gain
        kept = size >= cut
        steps = (abs(np.float64(x)) * scale + _WHOLE) - _WHOLE
        term = weight + np.int64(times * steps)
        up[i] += term if (x > 0) & kept else 0
        down[i] += term if (x < 0) & kept else 0
    return top


@compiled
def add_wide(
    bits: Any, cut: Any, gain: Any, scale: Any, share: Any, planes: Any
) -> Any:
    """The same to four planes: magnitudes up and down, weights up and down."""
    values = bits.view(np.float32)
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

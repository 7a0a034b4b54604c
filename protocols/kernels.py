"""The compiled loops that validate and decode.

None of them checks a bound: a caller hands in arrays whose lengths it has checked.
They hold no lock and are compiled once, into the cache beside this file.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.uint16]

FINE, RANGE, LENGTH, LOOSE, INFINITE, NEGATIVE, ZERO = range(7)
"""What a loop found: all well; a place outside; another count; an escape that leads
nowhere; a value that is not finite; a negative zero; a zero that is spelled out."""

ESCAPE = 255
"""The gap byte that says: advance 255 places and keep none."""

_Loop = TypeVar("_Loop", bound=Callable[..., Any])


def compiled(loop: _Loop) -> _Loop:
    """Compile a loop with numba: cached on disk, without the interpreter's lock."""
    return cast(_Loop, numba.njit(cache=True, nogil=True)(loop))


@compiled
def read_gaps(gaps: Bytes, size: int, positions: Positions) -> int:
    """Places from gap bytes: [k] `positions` is filled.

    Args:
        gaps: byte 0 to 254: skip so many places and keep the next; 255: skip 255.
        size: how many coordinates the span has.
        positions: as many as there should be.

    Returns:
        FINE, RANGE, LENGTH or LOOSE.
    """
    place = np.int64(0)
    found = 0
    for gap in gaps:
        place += np.int64(gap)
        if gap == ESCAPE:
            continue
        if found == positions.size:
            return LENGTH
        if place >= size:
            return RANGE
        positions[found] = place
        found += 1
        place += 1
    if found != positions.size:
        return LENGTH
    if gaps.size > 0 and gaps[gaps.size - 1] == ESCAPE:
        return LOOSE
    return FINE


@compiled
def write_gaps(positions: Positions, gaps: Bytes) -> int:
    """Gap bytes from places; gives how many bytes of `gaps` were written."""
    written = 0
    following = np.int64(0)
    for position in positions:
        gap = np.int64(position) - following
        while gap >= ESCAPE:
            gaps[written] = ESCAPE
            written += 1
            gap -= ESCAPE
        gaps[written] = gap
        written += 1
        following = np.int64(position) + 1
    return written


@compiled
def read_words(
    first: Bytes,
    second: Bytes,
    third: Bytes,
    fourth: Bytes,
    out: npt.NDArray[np.uint32],
) -> None:
    """Four byte planes, lowest first, to 32-bit words."""
    for i in range(out.size):
        low = np.uint32(first[i]) | np.uint32(second[i]) << np.uint32(8)
        high = np.uint32(third[i]) | np.uint32(fourth[i]) << np.uint32(8)
        out[i] = low | high << np.uint32(16)


@compiled
def read_halves(
    low: Bytes, high: Bytes, table: Floats, scale: np.float32, out: Floats
) -> None:
    """Two byte planes through a table of 65,536 values, times a scale."""
    for i in range(out.size):
        out[i] = table[np.uint16(low[i]) | np.uint16(high[i]) << np.uint16(8)] * scale


@compiled
def read_bytes(codes: Bytes, table: Floats, scale: np.float32, out: Floats) -> None:
    """One byte plane through a table of 256 values, times a scale."""
    for i in range(out.size):
        out[i] = table[codes[i]] * scale


@compiled
def read_signs(bits: Bytes, means: Floats, out: Floats) -> int:
    """One bit a value (1 is minus) and one mean for each 256 of them.

    Returns:
        FINE; NEGATIVE where a minus stands before a zero; LOOSE where bits after the
        last value are set.
    """
    flaw = FINE
    for group in range(means.size):
        mean = means[group]
        twice = mean + mean
        some = np.uint8(0)
        for i in range(group << 8, min(group + 1 << 8, out.size)):
            minus = bits[i >> 3] >> np.uint8(i & 7) & np.uint8(1)
            out[i] = mean - twice * np.float32(minus)
            some |= minus
        if some and mean == 0:
            flaw = NEGATIVE
    if out.size & 7 and bits[out.size >> 3] >> (out.size & 7):
        flaw = LOOSE
    return flaw


@compiled
def write_bytes(values: Floats, inverse: np.float32, codes: Bytes) -> None:
    """The nearest e4m3 number (ties to even) of each value times `inverse`.

    No product may be larger than 464, which still rounds to the largest, 448.
    """
    words = values.view(np.uint32)
    scaled = np.empty(1, np.float32)
    scaled_word = scaled.view(np.uint32)
    for i in range(values.size):
        size = abs(values[i] * inverse)
        if size < np.float32(0.015625):
            code = np.uint32(np.rint(size * np.float32(512)))
        else:
            scaled[0] = size
            word = scaled_word[0]
            word += np.uint32(0x7FFFF) + (word >> np.uint32(20) & np.uint32(1))
            code = (word >> np.uint32(20)) - np.uint32(120 << 3)
        if code and words[i] >> np.uint32(31):
            code |= np.uint32(0x80)
        codes[i] = code


@compiled
def examine(values: Floats, zeros: bool) -> tuple[int, float, float]:  # noqa: FBT001
    """What a decoded span is like.

    Args:
        values: [k] what was decoded.
        zeros: whether a zero may be spelled out.

    Returns:
        FINE, INFINITE, NEGATIVE or ZERO; the largest magnitude; the sum of squares.
    """
    words = values.view(np.uint32)
    flaw = FINE
    peak = np.uint32(0)
    squares = 0.0
    for i in range(values.size):
        magnitude = words[i] & np.uint32(0x7FFFFFFF)
        if magnitude == 0:
            if words[i]:
                flaw = NEGATIVE
            elif not zeros:
                flaw = ZERO
        peak = max(peak, magnitude)
        squares += np.float64(values[i]) * np.float64(values[i])
    if peak >= np.uint32(0x7F800000):
        return INFINITE, 0.0, 0.0
    largest = np.empty(1, np.uint32)
    largest[0] = peak
    return flaw, np.float64(largest.view(np.float32)[0]), squares

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
Ends = npt.NDArray[np.int64]

FINE, RANGE, LENGTH, LOOSE, INFINITE, NEGATIVE, ZERO, CODE = range(8)
"""What a loop found: all well; a place outside; another count; an escape that leads
nowhere; a value that is not finite; a negative zero; a zero that is spelled out; a
code that no value has."""

_Loop = TypeVar("_Loop", bound=Callable[..., Any])


def compiled(loop: _Loop) -> _Loop:
    """Compile a loop with numba: cached on disk, without the interpreter's lock."""
    return cast(_Loop, numba.njit(cache=True, nogil=True)(loop))


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
def read_signs(bits: Bytes, means: Floats, ends: Ends, out: Floats) -> int:
    """One bit a value (1 is minus) and one mean for each 256 of a span's values.

    Args:
        bits: of some spans; each span's begin with a byte.
        means: of their groups.
        ends: [spans + 1] values before each span.
        out: where values go.

    Returns:
        FINE; NEGATIVE where a minus stands before a zero; LOOSE where bits after the
        last value are set.
    """
    flaw = FINE
    group, byte = 0, 0
    for s in range(ends.size - 1):
        start = ends[s]
        count = ends[s + 1] - start
        for first in range(0, count, 256):
            mean = means[group]
            twice = mean + mean
            some = np.uint8(0)
            for i in range(first, min(first + 256, count)):
                minus = bits[byte + (i >> 3)] >> np.uint8(i & 7) & np.uint8(1)
                out[start + i] = mean - twice * np.float32(minus)
                some |= minus
            if some and mean == 0:
                flaw = NEGATIVE
            group += 1
        if count & 7 and bits[byte + (count >> 3)] >> (count & 7):
            flaw = LOOSE
        byte += (count + 7) >> 3
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
def largest_group(values: Floats, ends: Ends, group: int, out: Floats) -> None:
    """The largest magnitude of each group; a span's last one may be shorter."""
    at = 0
    for s in range(ends.size - 1):
        for first in range(ends[s], ends[s + 1], group):
            peak = np.float32(0)
            for i in range(first, min(first + group, ends[s + 1])):
                peak = max(peak, abs(values[i]))
            out[at] = peak
            at += 1


@compiled
def mean_group(
    values: Floats, ends: Ends, group: int, out: npt.NDArray[np.float64]
) -> None:
    """The mean magnitude of each group; a span's last one may be shorter."""
    at = 0
    for s in range(ends.size - 1):
        for first in range(ends[s], ends[s + 1], group):
            last = min(first + group, ends[s + 1])
            total = 0.0
            for i in range(first, last):
                total += np.float64(abs(values[i]))
            out[at] = total / (last - first)
            at += 1


@compiled
def write_signs(values: Floats, ends: Ends, means: Floats, bits: Bytes) -> None:
    """One bit a value, 1 for minus before a mean that is not 0; `bits` is zero."""
    group, byte = 0, 0
    for s in range(ends.size - 1):
        count = ends[s + 1] - ends[s]
        for i in range(count):
            if values[ends[s] + i] < 0 and means[group + (i >> 8)] != 0:
                bits[byte + (i >> 3)] |= np.uint8(1 << (i & 7))
        group += (count + 255) >> 8
        byte += (count + 7) >> 3


@compiled
def examine(
    values: Floats,
    spans: Ends,
    ends: Ends,
    zeros: npt.NDArray[np.bool_],
    peaks: npt.NDArray[np.float64],
) -> tuple[int, int, float]:
    """What the decoded values of some spans are like.

    Args:
        values: what was decoded, from the first span on.
        spans: which spans.
        ends: [spans + 1] values before each.
        zeros: by span, whether a zero may be spelled out.
        peaks: by span, where its largest magnitude goes.

    Returns:
        FINE, INFINITE, NEGATIVE or ZERO; the span where; the sum of squares.
    """
    words = values.view(np.uint32)
    total = 0.0
    largest = np.empty(1, np.uint32)
    size = largest.view(np.float32)
    for s in spans:
        flaw = FINE
        peak = np.uint32(0)
        squares = 0.0
        for i in range(ends[s] - ends[spans[0]], ends[s + 1] - ends[spans[0]]):
            magnitude = words[i] & np.uint32(0x7FFFFFFF)
            if magnitude == 0:
                if words[i]:
                    flaw = NEGATIVE
                elif not zeros[s]:
                    flaw = ZERO
            peak = max(peak, magnitude)
            squares += np.float64(values[i]) * np.float64(values[i])
        if peak >= np.uint32(0x7F800000):
            flaw = INFINITE
        if flaw != FINE:
            return flaw, s, 0.0
        largest[0] = peak
        peaks[s] = np.float64(size[0])
        total += squares
    return FINE, 0, total

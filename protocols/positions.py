"""The compiled loops that write and read places: byte gaps, bits, and wide gaps.

None of them checks a bound: a caller hands in arrays whose lengths it has checked. A
span's places start at its entry of `ends`, which counts from `base`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from .kernels import FINE, LENGTH, LOOSE, RANGE, compiled

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.uint16]
Ends = npt.NDArray[np.int64]

GAPS, BITS, WIDE = 0, 1, 2
"""How a chunk's places are written."""

ESCAPE = 255
"""The gap byte that says: advance 255 places and keep none."""

ONES = np.array([byte.bit_count() for byte in range(256)])


@compiled
def read_gaps(gaps: Bytes, size: int, positions: Places) -> int:
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
def read_bits(bits: Bytes, size: int, positions: Places) -> int:
    """Places from one bit each, the lowest first; one more place is written over."""
    found: Any = 0
    for byte in bits:
        found += ONES[byte]
    if found != positions.size:
        return LENGTH
    if size & 7 and bits[size >> 3] >> (size & 7):
        return LOOSE
    found = 0
    for at in range(bits.size):
        byte = np.int64(bits[at])
        if byte:
            for place in range(at << 3, (at << 3) + 8):
                positions[found] = place
                found += byte & 1
                byte >>= 1
    return FINE


@compiled
def read_wide(low: Bytes, bits: Bytes, size: int, positions: Places) -> int:
    """Places from gaps whose low bytes stand apart from what is above them.

    Above: so many bits 0 as 256 goes into the gap, and a bit 1; the lowest first.
    """
    place = np.int64(0)
    at = 0
    for i in range(positions.size):
        while at < bits.size << 3 and not bits[at >> 3] >> np.uint8(at & 7) & 1:
            place += 256
            at += 1
        if at == bits.size << 3:
            return LENGTH
        at += 1
        place += np.int64(low[i])
        if place >= size:
            return RANGE
        positions[i] = place
        place += 1
    if (at + 7) >> 3 != bits.size:
        return LENGTH
    if at & 7 and bits[at >> 3] >> np.uint8(at & 7):
        return LOOSE
    return FINE


@compiled
def read_places(  # noqa: PLR0913, PLR0917 - a loop's arrays
    code: int,
    told: Bytes,
    low: Bytes,
    tolds: Ends,
    lows: Ends,
    spans: Ends,
    sizes: Ends,
    ends: Ends,
    base: int,
    positions: Places,
) -> tuple[int, int]:
    """The places of some spans of a chunk.

    Args:
        code: GAPS, BITS or WIDE.
        told: the run's plane of places.
        low: the run's plane of low bytes, for WIDE.
        tolds: [spans + 1] where each span begins in `told`.
        lows: the same in `low`.
        spans: which spans.
        sizes: [spans] coordinates of each.
        ends: [spans + 1] values before each.
        base: of `ends`, what `positions` starts with.
        positions: where places go.

    Returns:
        What was found, and the span where.
    """
    for s in spans:
        out = positions[ends[s] - base : ends[s + 1] - base]
        mine = told[tolds[s] : tolds[s + 1]]
        if code == GAPS:
            flaw = read_gaps(mine, sizes[s], out)
        elif code == BITS:
            flaw = read_bits(mine, sizes[s], out)
        else:
            flaw = read_wide(low[lows[s] : lows[s + 1]], mine, sizes[s], out)
        if flaw != FINE:
            return flaw, s
    return FINE, 0


@compiled
def write_gaps(positions: Places, ends: Ends, gaps: Bytes, counts: Ends) -> int:
    """Gap bytes from places; [spans] bytes of each go to `counts`; gives their sum."""
    written = 0
    for s in range(counts.size):
        first = written
        following = np.int64(0)
        for i in range(ends[s], ends[s + 1]):
            gap = np.int64(positions[i]) - following
            while gap >= ESCAPE:
                gaps[written] = ESCAPE
                written += 1
                gap -= ESCAPE
            gaps[written] = gap
            written += 1
            following = np.int64(positions[i]) + 1
        counts[s] = written - first
    return written


@compiled
def write_bits(positions: Places, ends: Ends, starts: Ends, bits: Bytes) -> None:
    """One bit a coordinate; `bits` is zero before."""
    for s in range(starts.size):
        for i in range(ends[s], ends[s + 1]):
            place = np.int64(positions[i])
            bits[starts[s] + (place >> 3)] |= np.uint8(1 << (place & 7))


@compiled
def write_wide(
    positions: Places, ends: Ends, low: Bytes, bits: Bytes, counts: Ends
) -> int:
    """Gaps as `read_wide` has them; `bits` is zero before.

    Bytes of bits of each span go to `counts`; gives their sum.
    """
    start: Any = 0
    for s in range(counts.size):
        following = np.int64(0)
        at = start << 3
        for i in range(ends[s], ends[s + 1]):
            gap = np.int64(positions[i]) - following
            low[i] = gap & 255
            at += gap >> 8
            bits[at >> 3] |= np.uint8(1 << (at & 7))
            at += 1
            following = np.int64(positions[i]) + 1
        counts[s] = ((at + 7) >> 3) - start
        start += counts[s]
    return int(start)


@compiled
def magnitudes(values: Any, out: Any) -> tuple[int, int]:
    """[n] magnitudes as float32 bits; how many are not zero, and the largest."""
    words = values.view(np.uint32)
    count: Any = 0
    peak = np.uint32(0)
    for i in range(words.size):
        size = words[i] & np.uint32(0x7FFFFFFF)
        out[i] = size
        peak = max(peak, size)
        count += np.int64(size != 0)
    top: Any = np.int64(peak)
    return count, top


@compiled
def equals(words: Any, wanted: Any) -> int:
    """How many words are equal to one."""
    count: Any = 0
    for i in range(words.size):
        count += np.int64(words[i] == wanted)
    return int(count)


@compiled
def gather(
    values: Any, least: Any, ties: int, ends: Ends, positions: Any, taken: Any
) -> int:
    """What is above a threshold, and the first `ties` that equal it, span by span.

    Args:
        values: [n] a run of spans.
        least: the threshold, as float32 bits.
        ties: how many may equal it.
        ends: [spans + 1] of n; each span's count of values is put in its place.
        positions: [kept + 1] where places go.
        taken: [kept + 1] where values go.

    Returns:
        How many ties are left.
    """
    words = values.view(np.uint32)
    found: Any = 0
    left: Any = ties
    first = ends[0]
    ends[0] = 0
    for s in range(ends.size - 1):
        last = ends[s + 1]
        for i in range(first, last):
            size = words[i] & np.uint32(0x7FFFFFFF)
            tied = np.int64(size == least) & np.int64(left > 0)
            keep = np.int64(size > least) | tied
            left -= tied
            positions[found] = i - first
            taken[found] = values[i]
            found += keep
        first = last
        ends[s + 1] = found
    return int(left)


@compiled
def finite(values: Any) -> bool:
    """Whether all values are finite."""
    words = values.view(np.uint32)
    peak = np.uint32(0)
    for i in range(words.size):
        peak = max(peak, words[i] & np.uint32(0x7FFFFFFF))
    return bool(peak < np.uint32(0x7F800000))

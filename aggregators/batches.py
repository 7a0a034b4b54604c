"""The compiled loops that merge sealed bytes, all members of a span at once.

What each of a member's 256 codes adds stands in a table, with its scale, its gain, its
share and its weight; codes then go straight to the places that gaps or bits give. Sums
stay in the cache until they are read off.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..protocols.positions import ESCAPE
from ..protocols.values import EIGHTHS
from . import kernels
from .kernels import compiled, inlined
from .pointers import carray, lowest, pointer
from .units import POINT

_NUMBERS = np.nan_to_num(EIGHTHS, nan=0.0)
_WHOLE = (_NUMBERS * 2.0**POINT).astype(np.int64)
_ESCAPE = np.uint8(ESCAPE)
_PLACE = np.uint64(0xFFFF)
_ROOM = 1 << 16

_0, _1, _7, _8 = np.uint64(0), np.uint64(1), np.uint8(7), np.uint64(8)


class Batch(NamedTuple):
    """K payloads' bytes of one chunk, and what they count for.

    Attributes:
        places: [2, K] addresses of codes (of halves: their low bytes), and of gaps or
            bits (their high bytes).
        codes: [K, S + 1] where each span's codes begin.
        gaps: [K, S + 1] where each span's gaps, or bits, begin.
        bits: [K] whether they are bits.
        exponents: [K, T] the power of two that a tensor's values are in units of.
        gains: [K] float32: what they are multiplied by.
        shares: [K] int64.
        keys: [K, T] uint64, of drawn places.
    """

    places: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int64]
    gaps: npt.NDArray[np.int64]
    bits: npt.NDArray[np.bool_]
    exponents: npt.NDArray[np.int64]
    gains: npt.NDArray[np.float32]
    shares: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint64]


class Part(NamedTuple):
    """Spans of a chunk.

    Attributes:
        first: the first one's place in the chunk.
        tensors: [S] whose they are.
        starts: [S] where they begin there.
        sizes: [S] their coordinates.
        whole: whether sums are kept for all of them, and not for one at a time.
        opens: whether sums are emptied first.
        closes: whether they are read off at last.
    """

    first: int
    tensors: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    whole: bool
    opens: bool
    closes: bool


class Rule(NamedTuple):
    """How sums are kept and read.

    Attributes:
        pairs: whether there are two a coordinate, one behind the other, by sign, and
            with the weights in their upper bits.
        elect: of these 0, by mass, or 2, by count.
        real: whether float64 holds sums, so that words of 64 bits may be that.
    """

    pairs: bool
    elect: int
    real: bool


class Room(NamedTuple):
    """Scratch of one thread.

    Attributes:
        short: sums of 32 bits, with room for 2^16 coordinates behind the last.
        long: sums of 64.
        terms: [256] int32.
        wides: [256] int64.
    """

    short: npt.NDArray[np.int32]
    long: npt.NDArray[np.int64]
    terms: npt.NDArray[np.int32]
    wides: npt.NDArray[np.int64]


@compiled
def _tabulate(batch: Any, units: Any, k: Any, t: Any, pairs: Any, table: Any) -> None:
    """What each code of a member adds, for one tensor."""
    share = batch.shares[k]
    weight = share << units.heights[t] if pairs else np.int64(0)
    if units.exact[t]:
        times = share << units.shifts[k, t]
        for code in range(256):
            whole = abs(_WHOLE[code]) if pairs else _WHOLE[code]
            table[code] = times * whole + (weight if whole != 0 else 0)
        return
    unit = np.float32(math.ldexp(1.0, batch.exponents[k, t]))
    for code in range(256):
        x = _NUMBERS[code] * unit * batch.gains[k]
        steps = np.int64(np.rint(np.float64(abs(x) if pairs else x) * units.scales[t]))
        table[code] = share * steps + (weight if x != 0 else 0)


@inlined
def _put(sums: Any, place: Any, byte: Any, table: Any, pairs: Any) -> None:
    """Add one code's term; no byte can make it write outside."""
    if pairs:
        side = np.uint64(byte >> _7)
        sums[(place & _PLACE) << _1 | side] += table[byte]
    else:
        sums[place & _PLACE] += table[byte]


@inlined
def _gaps(codes: Any, gaps: Any, table: Any, sums: Any, pairs: Any) -> None:
    at, place, code = _0, _0, _0
    size, count = np.uint64(gaps.size), np.uint64(codes.size)
    while at < size and code < count:
        gap = gaps[at]
        at += _1
        place += np.uint64(gap)
        if gap == _ESCAPE:
            continue
        _put(sums, place, codes[code], table, pairs)
        code += _1
        place += _1


@inlined
def _bits(codes: Any, bits: Any, table: Any, sums: Any, pairs: Any) -> None:
    at, code = _0, _0
    here, size, count = (
        np.uint64(bits.ctypes.data),
        np.uint64(bits.size),
        np.uint64(codes.size),
    )
    while at < size:
        word = _0
        if at + _8 <= size:
            word = carray(pointer(here + at), 1, np.uint64)[0]
        else:
            for more in range(np.int64(size - at)):
                word |= np.uint64(bits[at + np.uint64(more)]) << np.uint64(8 * more)
        while word != _0 and code < count:
            place = (at << np.uint64(3)) + lowest(word)
            _put(sums, place, codes[code], table, pairs)
            word &= word - _1
            code += _1
        at += _8


@compiled
def add_gaps(codes: Any, gaps: Any, table: Any, sums: Any) -> None:
    """Add codes at gaps to sums."""
    _gaps(codes, gaps, table, sums, False)  # noqa: FBT003 - compiled for it


@compiled
def add_gaps_pairs(codes: Any, gaps: Any, table: Any, sums: Any) -> None:
    """The same by sign."""
    _gaps(codes, gaps, table, sums, True)  # noqa: FBT003


@compiled
def add_bits(codes: Any, bits: Any, table: Any, sums: Any) -> None:
    """Add codes at the places of bits that are set."""
    _bits(codes, bits, table, sums, False)  # noqa: FBT003


@compiled
def add_bits_pairs(codes: Any, bits: Any, table: Any, sums: Any) -> None:
    """The same by sign."""
    _bits(codes, bits, table, sums, True)  # noqa: FBT003


@compiled
def _add(batch: Any, k: Any, s: Any, table: Any, sums: Any, pairs: Any) -> None:
    first, last = batch.codes[k, s], batch.codes[k, s + 1]
    codes = carray(pointer(batch.places[0, k] + first), last - first, np.uint8)
    first, last = batch.gaps[k, s], batch.gaps[k, s + 1]
    gaps = carray(pointer(batch.places[1, k] + first), last - first, np.uint8)
    if batch.bits[k]:
        if pairs:
            add_bits_pairs(codes, gaps, table, sums)
        else:
            add_bits(codes, gaps, table, sums)
    elif pairs:
        add_gaps_pairs(codes, gaps, table, sums)
    else:
        add_gaps(codes, gaps, table, sums)


@compiled
def read(units: Any, t: Any, rule: Any, sums: Any, out: Any) -> None:
    """Read one span's sums off."""
    if rule.pairs:
        pairs = sums[: 2 * out.size]
        kernels.read_pairs(pairs, units.heights[t], rule.elect, units.worths[t], out)
    else:
        kernels.read_sum(sums[: out.size], units.worths[t], 1.0, out)


@compiled
def _span(how: Any, s: Any, table: Any, sums: Any, out: Any) -> None:
    """Merge a span in words of one length."""
    batch, units, part, rule = how
    t = part.tensors[s]
    if part.opens:
        sums[: out.size << np.int64(rule.pairs)] = 0
    for k in range(batch.shares.size):
        _tabulate(batch, units, k, t, rule.pairs, table)
        _add(batch, k, part.first + s, table, sums, rule.pairs)
    if part.closes:
        read(units, t, rule, sums, out)


@compiled
def merge_coded(
    batch: Any, units: Any, part: Any, rule: Any, room: Any, out: Any
) -> None:
    """Merge spans of payloads of bytes.

    Args:
        batch: the members.
        units: how long words are.
        part: which spans.
        rule: how they are merged.
        room: scratch.
        out: [n] float32, all spans' coordinates.
    """
    at, how = np.int64(0), (batch, units, part, rule)
    for s in range(part.sizes.size):
        size = part.sizes[s]
        first = (at if part.whole else 0) << np.int64(rule.pairs)
        last = first + (_ROOM << np.int64(rule.pairs))
        here = out[at : at + size]
        if units.short[part.tensors[s]]:
            _span(how, s, room.terms, room.short[first:last], here)
        else:
            _span(how, s, room.wides, room.long[first:last], here)
        at += size

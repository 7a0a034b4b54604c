"""The compiled loops that fold sealed payloads, all members of a span at once.

Bytes at gaps go straight into the sums, through a table of 256 integer terms a member
that has the scale, the gain, the share and the weight in it. Halves at places that are
drawn by seed are drawn, looked up and added in one go.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..protocols import masks
from ..protocols.positions import ESCAPE
from .kernels import WEIGHT_AT, compiled, inlined
from .runs import PACKED

_PLACE = 0xFFFF
_ESCAPE = np.uint8(ESCAPE)


class Batch(NamedTuple):
    """K payloads' bytes of one chunk, and what they count for.

    Attributes:
        raw: codes and gap bytes, one stretch behind the other.
        codes: [K, spans + 1] where each span's codes begin in `raw` (of halves, their
            low bytes).
        gaps: [K, spans + 1] where each span's gap bytes begin (of halves, their high
            bytes).
        scales: [K] float32: what a tensor's codes are multiplied by, then
        gains: [K] float32: what its values are multiplied by.
        shares: [K] int64.
    """

    raw: npt.NDArray[np.uint8]
    codes: npt.NDArray[np.int64]
    gaps: npt.NDArray[np.int64]
    scales: npt.NDArray[np.float32]
    gains: npt.NDArray[np.float32]
    shares: npt.NDArray[np.int64]


class Draw(NamedTuple):
    """Which places of a span are drawn.

    Attributes:
        keys: [K] uint64, of the tensor's masks.
        every: one of so many is kept; 0: each with the probability
        density: of a mask without strata.
        span: which span, within the chunk.
        start: its first element within its tensor.
        size: its elements.
    """

    keys: npt.NDArray[np.uint64]
    every: int
    density: float
    span: int
    start: int
    size: int


@compiled
def tabulate(batch: Any, loop: Any, eighths: Any, scale: Any, tables: Any) -> None:
    """Fill tables [K, 256] with what each code adds, for one tensor.

    Args:
        batch: the members.
        loop: how they are added, as `runs` names it.
        eighths: [256] the numbers of e4m3.
        scale: steps that a value of 1 is.
        tables: int64.
    """
    for k in range(batch.shares.size):
        share = batch.shares[k]
        weight = share << np.int64(WEIGHT_AT) if loop == PACKED else np.int64(0)
        for code in range(256):
            x = eighths[code] * batch.scales[k] * batch.gains[k]
            x = abs(x) if loop >= PACKED else x
            steps = np.int64(0)
            if x != 0 and code & 127 != 127:  # noqa: PLR2004 - the code of no number
                steps = weight + share * np.int64(np.rint(np.float64(x) * scale))
            tables[k, code] = steps


@compiled
def fold_signed(batch: Any, tables: Any, span: Any, sums: Any, room: Any) -> None:
    """Add one span of every member, to one plane or to one a sign.

    No byte can make it write outside: places are taken modulo 2^16.

    Args:
        batch: the members.
        tables: [K, 256], see `tabulate`.
        span: which, within the chunk.
        sums: int64, planes one behind the other, each with 2^16 places from `base` on.
        room: (base, places from the plane of what goes up to that of what goes down;
            0: there is one plane).
    """
    base, row = room
    raw = batch.raw
    for k in range(batch.shares.size):
        table = tables[k]
        code = batch.codes[k, span]
        place = np.int64(0)
        for at in range(batch.gaps[k, span], batch.gaps[k, span + 1]):
            gap = raw[at]
            one = np.int64(gap != _ESCAPE)
            place += np.int64(gap)
            byte = raw[code]
            where = base + (place & _PLACE) + row * np.int64(byte >> np.uint8(7))
            sums[where] += table[byte] * one
            code += one
            place += one


@compiled
def fold_wide(batch: Any, tables: Any, span: Any, sums: Any, room: Any) -> None:
    """The same, with two more planes for the weights."""
    base, row = room
    raw = batch.raw
    for k in range(batch.shares.size):
        table, share = tables[k], batch.shares[k]
        code = batch.codes[k, span]
        place = np.int64(0)
        for at in range(batch.gaps[k, span], batch.gaps[k, span + 1]):
            gap = raw[at]
            one = np.int64(gap != _ESCAPE)
            place += np.int64(gap)
            byte = raw[code]
            where = base + (place & _PLACE) + row * np.int64(byte >> np.uint8(7))
            sums[where] += table[byte] * one
            sums[where + 2 * row] += share * np.int64(table[byte] != 0) * one
            code += one
            place += one


@compiled
def fold_drawn(batch: Any, draw: Any, how: Any, sums: Any, room: Any) -> None:
    """Add one span of every member, halves at places that are drawn.

    Args:
        batch: the members.
        draw: which places.
        how: (loop, steps that a value of 1 is, [65536] the numbers of float16).
        sums: as for `fold_signed`.
        room: likewise.
    """
    halves = how[2]
    start, size = draw.start, draw.size
    every = draw.every
    first, last = start, start + size
    if every:
        first, last = start // every, (start + size - 1) // every + 1
    for k in range(batch.shares.size):
        at, end = batch.codes[k, draw.span], batch.codes[k, draw.span + 1]
        high = batch.gaps[k, draw.span] - at
        key = draw.keys[k]
        for i in range(first, last):
            if every:
                place = i * every + np.int64(masks.word(key, i) % np.uint64(every))
                place -= start
                kept = 0 <= place < size
            else:
                place = i - start
                kept = masks.share(key, i) < draw.density
            if kept and at < end:
                low, top = np.uint16(batch.raw[at]), np.uint16(batch.raw[at + high])
                x = halves[low | top << np.uint16(8)] * batch.scales[k]
                x *= batch.gains[k]
                _add(how, x, batch.shares[k], sums, place, room)
                at += 1


@inlined
def _add(how: Any, x: Any, share: Any, sums: Any, place: Any, room: Any) -> None:
    """Add one value."""
    loop, scale, _ = how
    base, row = room
    steps = np.int64(np.rint(np.float64(x) * scale))
    if loop < PACKED:
        sums[base + place] += share * steps
    else:
        where = base + place + (row if x < 0 else 0)
        weight = share if x != 0 else 0
        if loop == PACKED:
            sums[where] += (weight << np.int64(WEIGHT_AT)) + share * abs(steps)
        else:
            sums[where] += share * abs(steps)
            sums[where + 2 * row] += weight

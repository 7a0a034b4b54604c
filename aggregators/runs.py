"""The compiled loops that merge runs of dense tensors, all members at once.

A run is cut into spans, and a span into strips that stay in the first-level cache: for
each strip every member is read, made float32 where it is something else, trimmed,
scaled, and added; then the sums are read off. Nothing is read twice: the span's
exponent is taken to be the last one's, measured on the way, and the span done over in
the rare case that it was another.

Arrays come as addresses, which the caller keeps alive and has checked.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import kernels, strips
from .kernels import INFINITE, compiled
from .pointers import carray, fetch, pointer

STRIP = 8192
SPAN = 1 << 16

F32, BF16, F16, F64, NONE = range(5)
"""How a tensor is stored; NONE: there is none, it counts as 0."""

REAL, SUM, PACKED, WIDE = range(4)
"""What sums are kept: one, of whole numbers in float64 or int64; one a side, with its
weight packed in; four."""

EXACT = 1 << 12
"""Shares up to so many in all: their sums are exact in float64."""

BAD = 1 << 20
"""What `fill` gives, plus the member's place, where a value is not finite."""


class Run(NamedTuple):
    """K members' parts of one tensor, from the same element on.

    Attributes:
        kinds: [2, K] how member and base are stored.
        places: [2, K] their addresses.
        gains: [K] float32, what values are multiplied by.
        cuts: [K] least magnitude kept, as float32 bits; 0: all.
        ties: [K] how many that equal it are kept; -1: all.
        shares: [K] int64.
    """

    kinds: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    gains: npt.NDArray[np.float32]
    cuts: npt.NDArray[np.uint32]
    ties: npt.NDArray[np.int64]
    shares: npt.NDArray[np.int64]


class Rule(NamedTuple):
    """How sums are kept and read.

    Attributes:
        loop: REAL, SUM, PACKED or WIDE.
        elect: of an agreed mean 0, by mass, or 2, by count.
        fraction: fractional bits below a span's exponent.
        gain: what the result is multiplied by.
        total: what a sum is divided by.
    """

    loop: int
    elect: int
    fraction: int
    gain: float
    total: float


class Room(NamedTuple):
    """Scratch of one thread.

    Attributes:
        reals: [STRIP] float64, and
        up, down, above, below: [STRIP] int64: zeros between calls.
        values, bases: [STRIP] float32.
        tops: [K] uint32.
        top_values: the same memory as float32.
        left: [K] int64.
        kept: [K] int64.
        halves: [65536] the numbers of float16, float32.
    """

    reals: npt.NDArray[np.float64]
    up: npt.NDArray[np.int64]
    down: npt.NDArray[np.int64]
    above: npt.NDArray[np.int64]
    below: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    bases: npt.NDArray[np.float32]
    tops: npt.NDArray[np.uint32]
    top_values: npt.NDArray[np.float32]
    left: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64]
    halves: npt.NDArray[np.float32]


def room(members: int, halves: npt.NDArray[np.float32]) -> Room:
    """Scratch for K members."""
    tops = np.zeros(members, np.uint32)
    return Room(
        np.zeros(STRIP, np.float64),
        np.zeros(STRIP, np.int64),
        np.zeros(STRIP, np.int64),
        np.zeros(STRIP, np.int64),
        np.zeros(STRIP, np.int64),
        np.zeros(STRIP, np.float32),
        np.zeros(STRIP, np.float32),
        tops,
        tops.view(np.float32),
        np.zeros(members, np.int64),
        np.zeros(members, np.int64),
        halves,
    )


@compiled
def exponent_of(peak: Any) -> Any:
    """The least e with a magnitude below 2^e; 0 for 0."""
    return math.frexp(peak)[1]


@compiled
def _load(kind: Any, place: Any, at: Any, halves: Any, out: Any) -> None:
    """Elements from `at` on, as float32, to out [n]."""
    size = out.size
    if kind == F32:
        words = carray(pointer(place + 4 * at), size, np.float32)
        for i in range(size):
            out[i] = words[i]
    elif kind == BF16:
        shorts = carray(pointer(place + 2 * at), size, np.uint16)
        bits = out.view(np.uint32)
        for i in range(size):
            bits[i] = np.uint32(shorts[i]) << np.uint32(16)
    elif kind == F16:
        codes = carray(pointer(place + 2 * at), size, np.uint16)
        for i in range(size):
            out[i] = halves[codes[i]]
    else:
        reals = carray(pointer(place + 8 * at), size, np.float64)
        for i in range(size):
            out[i] = np.float32(reals[i])


@compiled
def _less(kind: Any, place: Any, at: Any, halves: Any, spare: Any, out: Any) -> None:
    """Take a base's elements from out [n]."""
    size = out.size
    if kind == F32:
        words = carray(pointer(place + 4 * at), size, np.float32)
        for i in range(size):
            out[i] -= words[i]
        return
    _load(kind, place, at, halves, spare[:size])
    for i in range(size):
        out[i] -= spare[i]


@compiled
def _read(rule: Any, unit: Any, room: Any, out: Any) -> None:
    """Read a strip's sums off to out [n], and empty them."""
    size = out.size
    up, down = room.up[:size], room.down[:size]
    above, below = room.above[:size], room.below[:size]
    if rule.loop == REAL:
        kernels.read_reals(room.reals[:size], unit / rule.total, out)
        room.reals[:size] = 0
    elif rule.loop == SUM:
        kernels.read_sum(up, unit, rule.total, out)
        up[:] = 0
    elif rule.loop == PACKED:
        kernels.read_packed(up, down, rule.elect, unit, out)
        up[:] = 0
        down[:] = 0
    else:
        kernels.read_wide((up, down, above, below), rule.elect, unit, out)
        up[:] = 0
        down[:] = 0
        above[:] = 0
        below[:] = 0


@compiled
def _add(run: Any, k: Any, loop: Any, scale: Any, bits: Any, room: Any) -> Any:
    """Add one member's part of a strip; gives the peak's bits, before the gain."""
    cut, gain, share = run.cuts[k], run.gains[k], run.shares[k]
    size = bits.size
    if loop == REAL:
        times = np.float64(share)
        if cut == 0 and gain == 1:
            return strips.add_whole(bits, scale, times, room.reals[:size])
        return strips.add_real(bits, cut, gain, scale, times, room.reals[:size])
    up, down = room.up[:size], room.down[:size]
    if loop == SUM:
        return strips.add_sum(bits, cut, gain, scale, share, up)
    if loop == PACKED:
        return strips.add_packed(bits, cut, gain, scale, share, (up, down))
    planes = (up, down, room.above[:size], room.below[:size])
    return strips.add_wide(bits, cut, gain, scale, share, planes)


@compiled
def _ask(run: Any, k: Any, at: Any) -> None:
    """Have the cache fetch a member's strip; what lies behind the end does no harm."""
    width = 2 if run.kinds[0, k] in (BF16, F16) else 4
    place = run.places[0, k] + width * at
    for line in range(0, width * STRIP, 64):
        fetch(place + line)


@compiled
def _staged(run: Any, k: Any, at: Any, left: Any, room: Any, size: Any) -> Any:
    """One member's strip as float32 bits: where it lies, or worked out in room[0]."""
    kind, base = run.kinds[0, k], run.kinds[1, k]
    place = run.places[0, k]
    if kind == F32 and base == NONE and left[k] < 0:
        return carray(pointer(place + 4 * at), size, np.uint32)
    values = room.values[:size]
    _load(kind, place, at, room.halves, values)
    if base != NONE:
        _less(base, run.places[1, k], at, room.halves, room.bases, values)
    if left[k] >= 0:
        left[k] -= kernels.trim(values, run.cuts[k], left[k], values)
    return values.view(np.uint32)


@compiled
def _span(run: Any, rule: Any, at: Any, e: Any, room: Any, out: Any) -> None:
    """Merge one span by an exponent; room.tops [K] are the peaks before the gains."""
    scale = math.ldexp(1.0, rule.fraction - e)
    unit = math.ldexp(rule.gain, e - rule.fraction)
    room.tops[:] = 0
    for first in range(0, out.size, STRIP):
        size = min(STRIP, out.size - first)
        for k in range(run.shares.size):
            _ask(run, k, at + first + STRIP)
            bits = _staged(run, k, at + first, room.left, room, size)
            top = _add(run, k, rule.loop, scale, bits, room)
            room.tops[k] = max(room.tops[k], top)
        _read(rule, unit, room, out[first : first + size])


@compiled
def _peak(run: Any, room: Any) -> Any:
    """Largest magnitude of what was added; a member's place minus K: not finite."""
    top = np.float64(0)
    for k in range(run.shares.size):
        if room.tops[k] >= INFINITE:
            return np.float64(k - run.shares.size)
        if room.tops[k] >= run.cuts[k]:
            scaled = np.float64(abs(room.top_values[k] * run.gains[k]))
            if not np.isfinite(scaled):
                return np.float64(k - run.shares.size)
            top = max(top, scaled)
    return top


@compiled
def fill(run: Any, rule: Any, start: Any, room: Any, out: Any) -> Any:
    """Merge a run of one tensor span by span.

    Args:
        run: the members.
        rule: how they are merged.
        start: the run's first element within what the addresses point to.
        room: scratch, see `Room`.
        out: [n] float32, from a span's beginning on.

    Returns:
        0, or `BAD` plus the place of the member that holds what is not finite.
    """
    e = 0
    for first in range(0, out.size, SPAN):
        part = out[first : first + SPAN]
        room.kept[:] = run.ties
        while True:
            room.left[:] = room.kept
            _span(run, rule, start + first, e, room, part)
            top = _peak(run, room)
            if top < 0:
                return BAD + run.shares.size + np.int64(top)
            found = exponent_of(top)
            if found == e:
                break
            e = found
        run.ties[:] = room.left
    return 0

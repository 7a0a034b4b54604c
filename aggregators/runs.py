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
from .loads import F32, NONE, less, load
from .pointers import carray, pointer

STRIP = 4096
SPAN = 1 << 16

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
        asked: [3] address of what will be read next, the strip's size, the address
            of `values`.
        guess: [1] the exponent that the last span had.
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
    asked: npt.NDArray[np.int64]
    guess: npt.NDArray[np.int64]
    halves: npt.NDArray[np.float32]


def room(members: int, halves: npt.NDArray[np.float32]) -> Room:
    """Scratch for K members."""
    tops = np.zeros(members, np.uint32)
    values = np.zeros(STRIP, np.float32)
    return Room(
        np.zeros(STRIP, np.float64),
        np.zeros(STRIP, np.int64),
        np.zeros(STRIP, np.int64),
        np.zeros(STRIP, np.int64),
        np.zeros(STRIP, np.int64),
        values,
        np.zeros(STRIP, np.float32),
        tops,
        tops.view(np.float32),
        np.zeros(members, np.int64),
        np.zeros(members, np.int64),
        np.array([0, 0, values.ctypes.data], np.int64),
        np.zeros(1, np.int64),
        halves,
    )


@compiled
def exponent_of(peak: Any) -> Any:
    """The least e with a magnitude below 2^e; 0 for 0."""
    return math.frexp(peak)[1]


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
def _add(rule: Any, how: Any, place: Any, room: Any) -> Any:
    """Add one member's part of a strip; gives the peak's bits, before the gain."""
    cut, gain, size = how[0], how[1], room.asked[1]
    ahead, loop = room.asked[0], rule.loop
    if loop == REAL and cut == 0 and gain == 1:
        return strips.add_whole(place, size, how, room.reals[:size], ahead)
    if loop == REAL:
        return strips.add_real(place, size, how, room.reals[:size], ahead)
    up, down = room.up[:size], room.down[:size]
    if loop == SUM:
        return strips.add_sum(place, size, how, up, ahead)
    if loop == PACKED:
        return strips.add_packed(place, size, how, (up, down), ahead)
    planes = (up, down, room.above[:size], room.below[:size])
    return strips.add_wide(place, size, how, planes, ahead)


@compiled
def _staged(run: Any, k: Any, at: Any, room: Any, size: Any) -> Any:
    """Where one member's strip is as float32: as it lies, or worked out."""
    kind, base = run.kinds[0, k], run.kinds[1, k]
    place = run.places[0, k]
    room.asked[0], room.asked[1] = 0, size
    if kind == F32 and base == NONE:
        room.asked[0] = place + 4 * at + strips.AHEAD
        return place + 4 * at
    values = room.values[:size]
    load(kind, place, at, room.halves, values)
    if base != NONE:
        less(base, run.places[1, k], at, room.halves, room.bases, values)
    return room.asked[2]


@compiled
def _cut(run: Any, k: Any, place: Any, room: Any, size: Any) -> Any:
    """From where on a strip is kept, as bits; and the strip, trimmed if need be.

    All that equals the threshold is kept while ties are left, and then none: only the
    strip in which they run out is gone through one by one.
    """
    cut, left = run.cuts[k], room.left[k]
    if left < 0:
        return cut, place
    words = carray(pointer(place), size, np.uint32)
    met = kernels.count_equal(words, cut)
    if met <= left:
        room.left[k] -= met
        return cut, place
    if left > 0:
        values = carray(pointer(place), size, np.float32)
        room.left[k] -= kernels.trim(values, cut, left, room.values[:size])
        return cut, room.asked[2]
    return cut + np.uint32(1), place


@compiled
def _span(run: Any, rule: Any, at: Any, e: Any, room: Any, out: Any) -> None:
    """Merge one span by an exponent; room.tops [K] are the peaks before the gains."""
    scale = math.ldexp(1.0, rule.fraction - e)
    unit = math.ldexp(rule.gain, e - rule.fraction)
    room.tops[:] = 0
    for first in range(0, out.size, STRIP):
        size = min(STRIP, out.size - first)
        for k in range(run.shares.size):
            place = _staged(run, k, at + first, room, size)
            cut, place = _cut(run, k, place, room, size)
            how = (cut, run.gains[k], scale, run.shares[k])
            top = _add(rule, how, place, room)
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
    e = room.guess[0]
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
    room.guess[0] = e
    return 0

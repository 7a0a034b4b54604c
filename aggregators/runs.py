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

from . import kernels, pairs, quads, strips
from .kernels import INFINITE, compiled, inlined
from .stages import exponent_of, plain_ones, staged, trimmed

STRIP = 4096
TWO, FOUR = 2, 4
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
        values: [5, STRIP] float32; the last row is zeros.
        bases: [STRIP] float32.
        tops: [K] uint32.
        top_values: the same memory as float32.
        found, cuts: [4] uint32.
        gains: [4] float32.
        shares: [4] float64.
        strips: [4] addresses.
        left: [K] int64.
        kept: [K] int64.
        rows: [5] the addresses of `values`.
        ahead: [4] addresses of what will be read next.
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
    found: npt.NDArray[np.uint32]
    cuts: npt.NDArray[np.uint32]
    gains: npt.NDArray[np.float32]
    shares: npt.NDArray[np.float64]
    strips: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    ahead: npt.NDArray[np.int64]
    guess: npt.NDArray[np.int64]
    halves: npt.NDArray[np.float32]


def room(members: int, halves: npt.NDArray[np.float32]) -> Room:
    """Scratch for K members."""
    tops = np.zeros(members, np.uint32)
    values = np.zeros((FOUR + 1, STRIP), np.float32)
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
        np.zeros(FOUR, np.uint32),
        np.zeros(FOUR, np.uint32),
        np.zeros(FOUR, np.float32),
        np.zeros(FOUR, np.float64),
        np.zeros(FOUR, np.int64),
        np.zeros(members, np.int64),
        np.zeros(members, np.int64),
        np.array([row.ctypes.data for row in values], np.int64),
        np.zeros(FOUR, np.int64),
        np.zeros(1, np.int64),
        halves,
    )


@inlined
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


@inlined
def _one(run: Any, rule: Any, k: Any, at: Any, scale: Any, part: Any) -> None:
    """Add one member's strip, which begins at an element."""
    room, size = part
    where = (0, size)
    place = staged(run, k, at, room, where)
    cut, place = trimmed(run, k, place, room, where)
    how = (cut, run.gains[k], scale, run.shares[k])
    up, down = room.up[:size], room.down[:size]
    if rule.loop == SUM:
        top = strips.add_sum(place, size, how, up, room.ahead[0])
    else:
        planes = (up, down, room.above[:size], room.below[:size])
        top = strips.add_wide(place, size, how, planes, room.ahead[0])
    room.tops[k] = max(room.tops[k], top)


@inlined
def _quad(run: Any, rule: Any, k: Any, at: Any, scale: Any, part: Any) -> None:
    """Add four members' strips; past the last member zeros with a share of 0."""
    room, size = part
    bare = True
    for row in range(FOUR):
        room.found[row], room.ahead[row] = 0, 0
        room.strips[row], room.shares[row] = room.rows[FOUR], 0
        room.cuts[row], room.gains[row] = 0, 1
        if k + row < run.shares.size:
            place = staged(run, k + row, at, room, (row, size))
            cut, place = trimmed(run, k + row, place, room, (row, size))
            room.strips[row], room.cuts[row] = place, cut
            room.gains[row] = run.gains[k + row]
            room.shares[row] = np.float64(run.shares[k + row])
        bare &= (room.cuts[row] == 0) & (room.gains[row] == 1)
    cuts, gains, shares, rows = room.cuts, room.gains, room.shares, room.strips
    how = (
        (cuts[0], cuts[1], cuts[2], cuts[3]),
        (gains[0], gains[1], gains[2], gains[3]),
        scale,
        (shares[0], shares[1], shares[2], shares[3]),
    )
    places = (rows[0], rows[1], rows[2], rows[3])
    if rule.loop == PACKED:
        planes = (room.up[:size], room.down[:size])
        quads.add_packs(places, how, planes, room.ahead, room.found)
    elif bare:
        quads.add_wholes(places, how, room.reals[:size], room.ahead, room.found)
    else:
        quads.add_reals(places, how, room.reals[:size], room.ahead, room.found)
    for row in range(min(FOUR, run.shares.size - k)):
        room.tops[k + row] = max(room.tops[k + row], room.found[row])


@compiled
def _span(run: Any, rule: Any, at: Any, e: Any, room: Any, out: Any) -> None:
    """Merge one span by an exponent; room.tops [K] are the peaks before the gains."""
    scale = math.ldexp(1.0, rule.fraction - e)
    unit = math.ldexp(rule.gain, e - rule.fraction)
    room.tops[:] = 0
    plain = plain_ones(run) and rule.loop in (REAL, PACKED)
    if plain and run.shares.size == TWO:
        how = (at, scale, rule.loop == PACKED, unit)
        if pairs.merge(run, rule, how, out, room.tops):
            return
    for first in range(0, out.size, STRIP):
        part = (room, min(STRIP, out.size - first))
        if plain:
            size = part[1]
            given = (run.places[0], 4 * (at + first), room.rows[FOUR])
            how = (run.cuts, run.gains, run.shares, scale)
            sums = (room.reals[:size], room.up[:size], room.down[:size])
            asked = (room.ahead, room.found, room.tops)
            quads.add_all(rule.loop == PACKED, given, how, sums, asked)
        elif rule.loop in (REAL, PACKED):
            for k in range(0, run.shares.size, FOUR):
                _quad(run, rule, k, at + first, scale, part)
        else:
            for k in range(run.shares.size):
                _one(run, rule, k, at + first, scale, part)
        _read(rule, unit, room, out[first : first + STRIP])


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
def fill(run: Any, rule: Any, start: Any, agreed: Any, room: Any, out: Any) -> Any:
    """Merge a run of one tensor span by span.

    Args:
        run: the members.
        rule: how they are merged.
        start: the run's first element within what the addresses point to.
        agreed: [S] the spans' exponents, [0]: they are to be found.
        room: scratch, see `Room`.
        out: [n] float32, from a span's beginning on.

    Returns:
        0, or `BAD` plus the place of the member that holds what is not finite.
    """
    e = room.guess[0]
    for first in range(0, out.size, SPAN):
        part = out[first : first + SPAN]
        room.kept[:] = run.ties
        if agreed.size:
            e = agreed[first // SPAN]
        while True:
            room.left[:] = room.kept
            _span(run, rule, start + first, e, room, part)
            top = _peak(run, room)
            if top < 0:
                return BAD + run.shares.size + np.int64(top)
            found = exponent_of(top)
            if found == e or agreed.size:
                break
            e = found
        run.ties[:] = room.left
    room.guess[0] = e
    return 0

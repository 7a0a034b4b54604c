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

import numba
import numpy as np
import numpy.typing as npt
from numba.core import cgutils, types
from numba.extending import intrinsic

from .kernels import WEIGHT_AT, compiled, trim

STRIP = 4096
SPAN = 1 << 16

F32, BF16, F16, F64, NONE = range(5)
"""How a tensor is stored; NONE: there is none, it counts as 0."""

SUM, PACKED, WIDE = range(3)
"""What sums are kept: one; a side each with its weight packed in; four."""

BAD = 1 << 20
"""What `fill` gives, plus the member's place, where a value is not finite."""

_LOW = np.int64((1 << 54) - 1)
_SIZE = np.uint32(0x7FFFFFFF)
_INFINITE = np.uint32(0x7F800000)


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
        loop: SUM, PACKED or WIDE.
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
        sums: [4, STRIP] int64, zeros between calls.
        values: [2, STRIP] float32.
        tops: [K] uint32.
        top_values: the same memory as float32.
        left: [K] int64.
        kept: [K] int64.
        halves: [65536] the numbers of float16, float32.
    """

    sums: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    tops: npt.NDArray[np.uint32]
    top_values: npt.NDArray[np.float32]
    left: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64]
    halves: npt.NDArray[np.float32]


def room(members: int, halves: npt.NDArray[np.float32]) -> Room:
    """Scratch for K members."""
    tops = np.zeros(members, np.uint32)
    return Room(
        np.zeros((4, STRIP), np.int64),
        np.zeros((2, STRIP), np.float32),
        tops,
        tops.view(np.float32),
        np.zeros(members, np.int64),
        np.zeros(members, np.int64),
        halves,
    )


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def _pointer(context: Any, address: Any) -> Any:  # noqa: ARG001
    def emit(context: Any, builder: Any, signature: Any, given: Any) -> Any:  # noqa: ARG001
        return builder.inttoptr(given[0], cgutils.voidptr_t)

    return types.voidptr(address), emit


@compiled
def exponent_of(peak: Any) -> Any:
    """The least e with a magnitude below 2^e; 0 for 0."""
    return math.frexp(peak)[1]


@compiled
def _load(kind: Any, place: Any, at: Any, halves: Any, out: Any) -> None:
    """Elements from `at` on, as float32, to out [n]."""
    size = out.size
    if kind == F32:
        words = numba.carray(_pointer(place + 4 * at), size, np.float32)
        for i in range(size):
            out[i] = words[i]
    elif kind == BF16:
        shorts = numba.carray(_pointer(place + 2 * at), size, np.uint16)
        bits = out.view(np.uint32)
        for i in range(size):
            bits[i] = np.uint32(shorts[i]) << np.uint32(16)
    elif kind == F16:
        codes = numba.carray(_pointer(place + 2 * at), size, np.uint16)
        for i in range(size):
            out[i] = halves[codes[i]]
    else:
        reals = numba.carray(_pointer(place + 8 * at), size, np.float64)
        for i in range(size):
            out[i] = np.float32(reals[i])


@compiled
def _less(kind: Any, place: Any, at: Any, halves: Any, spare: Any, out: Any) -> None:
    """Take a base's elements from out [n]."""
    size = out.size
    if kind == F32:
        words = numba.carray(_pointer(place + 4 * at), size, np.float32)
        for i in range(size):
            out[i] -= words[i]
        return
    _load(kind, place, at, halves, spare[:size])
    for i in range(size):
        out[i] -= spare[i]


@compiled
def _sum(bits: Any, cut: Any, gain: Any, scale: Any, share: Any, sums: Any) -> Any:
    """Add to sums [n]; gives the largest magnitude's bits, before the gain."""
    values = bits.view(np.float32)
    top = np.uint32(0)
    for i in range(bits.size):
        size = bits[i] & _SIZE
        top = max(top, size)
        x = np.float64(values[i] * gain)
        x = x if size >= cut else 0.0
        sums[i] += share * np.int64(np.rint(x * scale))
    return top


@compiled
def _packed(bits: Any, cut: Any, gain: Any, scale: Any, share: Any, sums: Any) -> Any:
    """Add to sums [2, n]: up and down, weights in the upper bits."""
    values = bits.view(np.float32)
    weight = share << np.int64(WEIGHT_AT)
    up, down = sums[0], sums[1]
    top = np.uint32(0)
    for i in range(bits.size):
        size = bits[i] & _SIZE
        top = max(top, size)
        x = values[i] * gain
        x = x if size >= cut else np.float32(0)
        term = weight + share * np.int64(np.rint(abs(np.float64(x)) * scale))
        up[i] += term if x > 0 else 0
        down[i] += term if x < 0 else 0
    return top


@compiled
def _wide(bits: Any, cut: Any, gain: Any, scale: Any, share: Any, sums: Any) -> Any:
    """Add to sums [4, n]: magnitudes up and down, weights up and down."""
    values = bits.view(np.float32)
    up, down, above, below = sums[0], sums[1], sums[2], sums[3]
    top = np.uint32(0)
    for i in range(bits.size):
        size = bits[i] & _SIZE
        top = max(top, size)
        x = values[i] * gain
        x = x if size >= cut else np.float32(0)
        term = share * np.int64(np.rint(abs(np.float64(x)) * scale))
        up[i] += term if x > 0 else 0
        down[i] += term if x < 0 else 0
        above[i] += share if x > 0 else 0
        below[i] += share if x < 0 else 0
    return top


@compiled
def _read(sums: Any, rule: Any, unit: Any, out: Any) -> None:
    """Read a strip's sums off to out [n], and empty them."""
    size = out.size
    if rule.loop == SUM:
        whole = sums[0]
        for i in range(size):
            out[i] = np.float32(np.float64(whole[i]) * unit / rule.total)
            whole[i] = 0
        return
    up, down, above, below = sums[0], sums[1], sums[2], sums[3]
    if rule.loop == PACKED:
        for i in range(size):
            above[i] = np.int64(np.uint64(up[i]) >> WEIGHT_AT)
            below[i] = np.int64(np.uint64(down[i]) >> WEIGHT_AT)
            up[i] &= _LOW
            down[i] &= _LOW
    for i in range(size):
        mass, count = up[i] - down[i], above[i] - below[i]
        ahead = count if rule.elect else mass
        total = up[i] if ahead > 0 else -down[i]
        weight = above[i] if ahead > 0 else below[i]
        value = np.float64(total) * unit / np.float64(max(weight, 1))
        out[i] = np.float32(value if ahead != 0 else 0.0)
        up[i] = 0
        down[i] = 0
        above[i] = 0
        below[i] = 0


@compiled
def _add(run: Any, k: Any, loop: Any, scale: Any, bits: Any, sums: Any) -> Any:
    """Add one member's strip; gives its largest magnitude's bits, before the gain."""
    cut, gain, share = run.cuts[k], run.gains[k], run.shares[k]
    if loop == SUM:
        return _sum(bits, cut, gain, scale, share, sums[0])
    if loop == PACKED:
        return _packed(bits, cut, gain, scale, share, sums)
    return _wide(bits, cut, gain, scale, share, sums)


@compiled
def _staged(run: Any, k: Any, at: Any, left: Any, room: Any, size: Any) -> Any:
    """One member's strip as float32 bits: where it lies, or worked out in room[0]."""
    kind, base = run.kinds[0, k], run.kinds[1, k]
    place = run.places[0, k]
    if kind == F32 and base == NONE and left[k] < 0:
        return numba.carray(_pointer(place + 4 * at), size, np.uint32)
    values = room.values[0, :size]
    _load(kind, place, at, room.halves, values)
    if base != NONE:
        _less(base, run.places[1, k], at, room.halves, room.values[1], values)
    if left[k] >= 0:
        left[k] -= trim(values, run.cuts[k], left[k], values)
    return values.view(np.uint32)


@compiled
def _span(run: Any, rule: Any, at: Any, e: Any, room: Any, out: Any) -> None:
    """Merge one span by an exponent; room.tops [K] are the peaks before the gains."""
    scale = math.ldexp(1.0, rule.fraction - e)
    unit = math.ldexp(rule.gain, e - rule.fraction)
    room.tops[:] = 0
    for first in range(0, out.size, STRIP):
        size = min(STRIP, out.size - first)
        sums = room.sums[:, :size]
        for k in range(run.shares.size):
            bits = _staged(run, k, at + first, room.left, room, size)
            top = _add(run, k, rule.loop, scale, bits, sums)
            room.tops[k] = max(room.tops[k], top)
        _read(sums, rule, unit, out[first : first + size])


@compiled
def _peak(run: Any, room: Any) -> Any:
    """Largest magnitude of what was added; a member's place minus K: not finite."""
    top = np.float64(0)
    for k in range(run.shares.size):
        if room.tops[k] >= _INFINITE:
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

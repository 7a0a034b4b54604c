"""Compiled loops that have a member's strip ready: as float32, and trimmed.

`run` and `room` are as `runs` has them; `where` is (row of scratch, size of the strip).
They are written out where they are called: handing over so many arrays takes longer
than a strip does.
"""

import math
from typing import Any

import numpy as np

from . import kernels
from .kernels import compiled, inlined
from .loads import F32, NONE, less, load
from .pointers import carray, pointer
from .strips import AHEAD


@inlined
def staged(run: Any, k: Any, at: Any, room: Any, where: Any) -> Any:
    """Where one member's strip is as float32: as it lies, or worked out."""
    row, size = where
    kind, base = run.kinds[0, k], run.kinds[1, k]
    place = run.places[0, k]
    room.ahead[row] = 0
    if kind == F32 and base == NONE:
        room.ahead[row] = place + 4 * at + AHEAD
        return place + 4 * at
    values = room.values[row, :size]
    load(kind, place, at, room.halves, values)
    if base != NONE:
        less(base, run.places[1, k], at, room.halves, room.bases, values)
    return room.rows[row]


@inlined
def trimmed(run: Any, k: Any, place: Any, room: Any, where: Any) -> Any:
    """From where on a strip is kept, as bits; and the strip, trimmed if need be.

    All that equals the threshold is kept while ties are left, and then none: only the
    strip in which they run out is gone through one by one.
    """
    row, size = where
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
        room.left[k] -= kernels.trim(values, cut, left, room.values[row, :size])
        return cut, room.rows[row]
    return cut + np.uint32(1), place


@compiled
def plain_ones(run: Any) -> Any:
    """Whether all members lie as float32, and none has ties to count."""
    plain = True
    for k in range(run.shares.size):
        plain &= (run.kinds[0, k] == F32) & (run.kinds[1, k] == NONE)
        plain &= run.ties[k] < 0
    return plain


@compiled
def exponent_of(peak: Any) -> Any:
    """The least e with a magnitude below 2^e; 0 for 0."""
    return math.frexp(peak)[1]

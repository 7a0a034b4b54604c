"""Compiled loops that read a tensor's elements as float32, however it is stored."""

from typing import Any

import numpy as np

from .kernels import compiled
from .pointers import carray, pointer

F32, BF16, F16, F64, NONE = range(5)
"""How a tensor is stored; NONE: there is none, it counts as 0."""


@compiled
def load(kind: Any, place: Any, at: Any, halves: Any, out: Any) -> None:
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
def less(kind: Any, place: Any, at: Any, halves: Any, spare: Any, out: Any) -> None:
    """Take a base's elements from out [n]."""
    size = out.size
    if kind == F32:
        words = carray(pointer(place + 4 * at), size, np.float32)
        for i in range(size):
            out[i] -= words[i]
        return
    load(kind, place, at, halves, spare[:size])
    for i in range(size):
        out[i] -= spare[i]

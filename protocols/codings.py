"""What a format of values is, and the power of two that a tensor is written in.

The exponent e is the one that puts the tensor's largest code into the upper half of the
format's range (at least -125, so that every code is a float32); it is 0 for a tensor
whose codes are all zero. So one value has one spelling, and what was decoded encodes to
the same bytes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .kernels import Bytes, Ends, Floats

Counts = npt.NDArray[np.int64]
Halves = npt.NDArray[np.float16]
Reader = Callable[[Sequence[Bytes], Ends, np.float32, Floats], int]

LEAST, MOST = -125, 111


@dataclass(frozen=True, slots=True)
class Draft:
    """Values to be written.

    Attributes:
        values: [k] of one tensor.
        ends: [spans + 1] values before each span.
        inverse: 2^-e.
        key: what integers are rounded by; 0: to the nearest.
        at: the first value's place among all of its tensor.
        steps: the groups' steps, where they are known.
    """

    values: Floats
    ends: Ends
    inverse: np.float32
    key: int = 0
    at: int = 0
    steps: Halves | None = None


def draft(values: Floats, inverse: np.float32) -> Draft:
    """Values of one span."""
    return Draft(values, np.array([0, values.size], np.int64), inverse)


@dataclass(frozen=True, slots=True)
class Coding:
    """A format of values.

    Attributes:
        planes: how many planes of bytes.
        top: the largest code's magnitude; 0: the format has no exponent.
        widths: [s] counts of values to [planes, s] sizes in bytes.
        peak: the largest magnitude to be coded among values of spans.
        rounded: the number that a code has for one.
        write: a draft to planes; never a negative zero.
        read: planes of some spans of one tensor, values before each span, 2^e and
            the array to fill; gives a flaw as `kernels` names it.
        safe: the share of `peak` from which on no value is written as a zero.
        group: values that share a step; 0: none do.
        most: the largest e.
    """

    planes: int
    top: float
    widths: Callable[[Counts], Counts]
    peak: Callable[[Floats, Ends], float]
    rounded: Callable[[float], float]
    write: Callable[[Draft], list[Bytes]]
    read: Reader
    safe: float
    group: int = 0
    most: int = MOST


def exponent(coding: Coding, peak: float) -> int:
    """The e of a tensor whose largest magnitude is `peak`; above `MOST`: too large.

    Example:
        >>> from fedelta.protocols.values import CODINGS
        >>> exponent(CODINGS["fp16"], 1.0), exponent(CODINGS["fp8"], 448.0)
        (-15, 0)
    """
    if not coding.top or not peak:
        return 0
    e = math.frexp(peak)[1] - math.frexp(coding.top)[1]
    if math.ldexp(peak, -e) > coding.top:
        e += 1
    elif math.ldexp(peak, -e) <= coding.top / 2:
        e -= 1
    if coding.rounded(math.ldexp(peak, -e)) <= coding.top / 2:
        e -= 1
    e = max(e, LEAST)
    return e if coding.rounded(math.ldexp(peak, -e)) else 0


def fits(coding: Coding, peak: float, e: int) -> bool:
    """Whether `exponent` gives e for a tensor of decoded values."""
    if not coding.top or not peak:
        return e == 0
    size = math.ldexp(peak, -e)
    return size <= coding.top and (e == LEAST or size > coding.top / 2)

"""How values are written: one or more planes of bytes, in units of 2^e a tensor.

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

from . import kernels
from .kernels import Bytes, Floats

Counts = npt.NDArray[np.int64]

LEAST, MOST = -125, 111
GROUP = 256
"""How many values share a mean in "sign256"."""

HALVES: Floats = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
_TOP_HALF = float(1 << 15)
_TOP_BYTE = 448.0
_INFINITE, _MINUS = 0x7C00, 0x8000  # codes of a half from which on it is so


def _table() -> Floats:
    codes = np.arange(128)
    power, fraction = codes >> 3, (codes & 7) / 8.0
    sizes = np.where(power, np.ldexp(1 + fraction, power - 7), np.ldexp(fraction, -6))
    sizes[127] = np.nan
    return np.concatenate([sizes, -sizes]).astype(np.float32)


EIGHTHS: Floats = _table()
"""[256] the numbers of e4m3 (OCP "FN": no infinities, one NaN a sign)."""


@dataclass(frozen=True, slots=True)
class Coding:
    """A format of values.

    Attributes:
        planes: how many planes of bytes.
        top: the largest code's magnitude; 0: the format has no exponent.
        widths: [s] counts of values to [planes, s] sizes in bytes.
        peak: the largest magnitude to be coded among values.
        rounded: the nearest number that a code has.
        write: values and 2^-e to planes; never a negative zero.
        read: planes, 2^e and the array to fill; gives a flaw as `kernels` names it.
    """

    planes: int
    top: float
    widths: Callable[[Counts], Counts]
    peak: Callable[[Floats], float]
    rounded: Callable[[float], float]
    write: Callable[[Floats, np.float32], list[Bytes]]
    read: Callable[[Sequence[Bytes], np.float32, Floats], int]


def exponent(coding: Coding, peak: float) -> int:
    """The e of a tensor whose largest magnitude is `peak`; above `MOST`: too large.

    Example:
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


def _largest(values: Floats) -> float:
    return float(np.abs(values).max(initial=0))


def _same(planes: int) -> Callable[[Counts], Counts]:
    return lambda kept: np.broadcast_to(kept, (planes, len(kept)))


def _split(words: npt.NDArray[np.generic], planes: int) -> list[Bytes]:
    each = words.view(np.uint8).reshape(-1, planes)
    return list(np.ascontiguousarray(each.T))


def _write_words(values: Floats, _inverse: np.float32) -> list[Bytes]:
    return _split(values + np.float32(0), 4)


def _read_words(planes: Sequence[Bytes], _scale: np.float32, out: Floats) -> int:
    first, second, third, fourth = planes
    kernels.read_words(first, second, third, fourth, out.view(np.uint32))
    return kernels.FINE


def _write_halves(values: Floats, inverse: np.float32) -> list[Bytes]:
    return _split((values * inverse).astype(np.float16) + np.float16(0), 2)


def _read_halves(planes: Sequence[Bytes], scale: np.float32, out: Floats) -> int:
    kernels.read_halves(planes[0], planes[1], HALVES, scale, out)
    return kernels.FINE


def _write_bytes(values: Floats, inverse: np.float32) -> list[Bytes]:
    codes = np.empty(values.size, np.uint8)
    kernels.write_bytes(values, inverse, codes)
    return [codes]


def _read_bytes(planes: Sequence[Bytes], scale: np.float32, out: Floats) -> int:
    kernels.read_bytes(planes[0], EIGHTHS, scale, out)
    return kernels.FINE


def _round_byte(value: float) -> float:
    code = _write_bytes(np.array([value], np.float32), np.float32(1))[0]
    return float(EIGHTHS[code[0]])


def _means(values: Floats) -> npt.NDArray[np.float64]:
    if not values.size:
        return np.zeros(0)
    firsts = np.arange(0, values.size, GROUP)
    counts = np.diff(np.append(firsts, values.size))
    sums = np.add.reduceat(np.abs(values), firsts, dtype=np.float64)
    means: npt.NDArray[np.float64] = sums / counts
    return means


def _write_signs(values: Floats, inverse: np.float32) -> list[Bytes]:
    means = (_means(values) * inverse).astype(np.float16)
    minus = (values < 0) & np.repeat(means != 0, GROUP)[: values.size]
    return [np.packbits(minus, bitorder="little"), means.view(np.uint8)]


def _read_signs(planes: Sequence[Bytes], scale: np.float32, out: Floats) -> int:
    codes = planes[1].view(np.uint16)
    largest = int(codes.max(initial=0))
    if largest >= _INFINITE:
        return kernels.NEGATIVE if largest >= _MINUS else kernels.INFINITE
    return kernels.read_signs(planes[0], HALVES[codes] * scale, out)


CODINGS = {
    "fp32": Coding(4, 0, _same(4), _largest, float, _write_words, _read_words),
    "fp16": Coding(
        2,
        _TOP_HALF,
        _same(2),
        _largest,
        lambda value: float(np.float16(value)),
        _write_halves,
        _read_halves,
    ),
    "fp8": Coding(
        1, _TOP_BYTE, _same(1), _largest, _round_byte, _write_bytes, _read_bytes
    ),
    "sign256": Coding(
        2,
        _TOP_HALF,
        lambda kept: np.stack([-(-kept // 8), 2 * -(-kept // GROUP)]),
        lambda values: float(_means(values).max(initial=0)),
        lambda value: float(np.float16(value)),
        _write_signs,
        _read_signs,
    ),
}

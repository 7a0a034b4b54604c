"""How values are written: one or more planes of bytes, in units of 2^e a tensor.

Where values are written in groups, each span begins a group.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from . import integers, kernels
from .codings import Coding, Counts, Draft, Halves, draft
from .kernels import Bytes, Ends, Floats

GROUP = 256
"""How many values share a mean in "sign256"."""

HALVES: Floats = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
_TOP_HALF = float(1 << 15)
_TOP_BYTE = 448.0
_INFINITE, _MINUS = 0x7C00, 0x8000  # codes of a half from which on it is so
_TINY = 2.0**-24  # a half's smallest number


def _table() -> Floats:
    codes = np.arange(128)
    power, fraction = codes >> 3, (codes & 7) / 8.0
    sizes = np.where(power, np.ldexp(1 + fraction, power - 7), np.ldexp(fraction, -6))
    sizes[127] = np.nan
    return np.concatenate([sizes, -sizes]).astype(np.float32)


EIGHTHS: Floats = _table()
"""[256] the numbers of e4m3 (OCP "FN": no infinities, one NaN a sign)."""


def _largest(values: Floats, _ends: Ends) -> float:
    return float(np.abs(values).max(initial=0))


def _same(planes: int) -> Callable[[Counts], Counts]:
    return lambda kept: np.broadcast_to(kept, (planes, len(kept)))


def _split(words: npt.NDArray[np.generic], planes: int) -> list[Bytes]:
    each = words.view(np.uint8).reshape(-1, planes)
    return list(np.ascontiguousarray(each.T))


def _write_words(given: Draft) -> list[Bytes]:
    return _split(given.values + np.float32(0), 4)


def _read_words(
    planes: Sequence[Bytes], _ends: Ends, _scale: np.float32, out: Floats
) -> int:
    first, second, third, fourth = planes
    kernels.read_words(first, second, third, fourth, out.view(np.uint32))
    return kernels.FINE


def _write_halves(given: Draft) -> list[Bytes]:
    scaled = given.values * given.inverse
    return _split(scaled.astype(np.float16) + np.float16(0), 2)


def _read_halves(
    planes: Sequence[Bytes], _ends: Ends, scale: np.float32, out: Floats
) -> int:
    kernels.read_halves(planes[0], planes[1], HALVES, scale, out)
    return kernels.FINE


def _write_bytes(given: Draft) -> list[Bytes]:
    codes = np.empty(given.values.size, np.uint8)
    kernels.write_bytes(given.values, given.inverse, codes)
    return [codes]


def _read_bytes(
    planes: Sequence[Bytes], _ends: Ends, scale: np.float32, out: Floats
) -> int:
    kernels.read_bytes(planes[0], EIGHTHS, scale, out)
    return kernels.FINE


def _round_byte(value: float) -> float:
    code = _write_bytes(draft(np.array([value], np.float32), np.float32(1)))[0]
    return float(EIGHTHS[code[0]])


def groups(kept: Counts, group: int) -> int:
    """How many groups some spans' values make."""
    return int((-(-kept // group)).sum())


def _means(values: Floats, ends: Ends) -> npt.NDArray[np.float64]:
    means = np.empty(groups(np.diff(ends), GROUP), np.float64)
    kernels.mean_group(values, ends, GROUP, means)
    return means


def _write_signs(given: Draft) -> list[Bytes]:
    means = (_means(given.values, given.ends) * given.inverse).astype(np.float16)
    bits = np.zeros(groups(np.diff(given.ends), 8), np.uint8)
    kernels.write_signs(given.values, given.ends, means.astype(np.float32), bits)
    return [bits, means.view(np.uint8)]


def _scales(plane: Bytes) -> tuple[npt.NDArray[np.uint16], int]:
    """Means or steps as halves, and whether they are finite and not negative."""
    codes = plane.view(np.uint16)
    largest = int(codes.max(initial=0))
    if largest >= _INFINITE:
        flaw = kernels.NEGATIVE if largest >= _MINUS else kernels.INFINITE
        return codes, flaw
    return codes, kernels.FINE


def _read_signs(
    planes: Sequence[Bytes], ends: Ends, scale: np.float32, out: Floats
) -> int:
    codes, flaw = _scales(planes[1])
    if flaw:
        return flaw
    return kernels.read_signs(planes[0], HALVES[codes] * scale, ends, out)


def _half_above(value: npt.NDArray[np.float64]) -> Halves:
    near = value.astype(np.float16)
    up = np.nextafter(near, np.float16(np.inf))
    return np.where(near.astype(np.float64) < value, up, near)


def _steps(given: Draft, group: int, top: float) -> Halves:
    if given.steps is not None:
        return given.steps.copy()
    peaks = np.empty(groups(np.diff(given.ends), group), np.float32)
    kernels.largest_group(given.values, given.ends, group, peaks)
    return _half_above(peaks.astype(np.float64) * float(given.inverse) / top)


def _integers(top: int, group: int) -> Coding:
    """Codes from -top to top, with a step for every `group` values."""
    packed = top < 8  # noqa: PLR2004 - two codes a byte

    def write(given: Draft) -> list[Bytes]:
        halves = _steps(given, group, top)
        codes = np.empty(given.values.size, np.int8)
        steps = halves.astype(np.float32) / given.inverse
        key = np.uint64(given.key)
        integers.write_codes(
            given.values, given.ends, group, steps, key, given.at, codes
        )
        integers.clear_steps(codes, given.ends, group, halves.view(np.uint16))
        if not packed:
            return [codes.view(np.uint8), halves.view(np.uint8)]
        nibbles = np.zeros(groups(np.diff(given.ends), 2), np.uint8)
        integers.write_nibbles(codes, given.ends, nibbles)
        return [nibbles, halves.view(np.uint8)]

    def read(
        planes: Sequence[Bytes], ends: Ends, scale: np.float32, out: Floats
    ) -> int:
        halves, flaw = _scales(planes[1])
        if flaw:
            return flaw
        steps = HALVES[halves] * scale
        if packed:
            return integers.read_nibbles(planes[0], group, steps, ends, out)
        codes = planes[0].view(np.int8)
        return integers.read_codes(codes, group, steps, ends, out)

    def widths(kept: Counts) -> Counts:
        return np.stack([-(-kept // 2) if packed else kept, 2 * -(-kept // group)])

    def rounded(value: float) -> float:
        return float(_half_above(np.array([value]))[0])

    return Coding(
        2,
        _TOP_HALF,
        widths,
        lambda values, ends: _largest(values, ends) / top,
        rounded,
        write,
        read,
        safe=0.51,
        group=group,
        most=104,
    )


CODINGS = {
    "fp32": Coding(4, 0, _same(4), _largest, float, _write_words, _read_words, 0.0),
    "fp16": Coding(
        2,
        _TOP_HALF,
        _same(2),
        _largest,
        lambda value: float(np.float16(value)),
        _write_halves,
        _read_halves,
        safe=_TINY / _TOP_HALF * 2,
    ),
    "fp8": Coding(
        1,
        _TOP_BYTE,
        _same(1),
        _largest,
        _round_byte,
        _write_bytes,
        _read_bytes,
        safe=2.0**-9 / _TOP_BYTE * 2,
    ),
    "sign256": Coding(
        2,
        _TOP_HALF,
        lambda kept: np.stack([-(-kept // 8), 2 * -(-kept // GROUP)]),
        lambda values, ends: float(_means(values, ends).max(initial=0)),
        lambda value: float(np.float16(value)),
        _write_signs,
        _read_signs,
        safe=_TINY / _TOP_HALF * 2,
    ),
    "int8": _integers(127, 256),
    "int8b64": _integers(127, 64),
    "int4": _integers(7, 64),
}

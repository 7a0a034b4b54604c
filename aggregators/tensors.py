"""Named tensors of any dtype, read as float32 runs: arrays, or a mapped file.

bfloat16 and the 8-bit floats are no dtypes of numpy's: they are held as their bits and
named as safetensors names them.
"""

import json
import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..protocols.errors import BoundsError, PayloadError
from ..protocols.vectors import Floats
from . import kernels

Array = npt.NDArray[Any]

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "F8_E4M3": "|u1",
    "F8_E5M2": "|u1",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "<u1",
    "BOOL": "|b1",
}
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
BITS = {
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}
"""By the name of another library's dtype, what is held as bits."""
_HEADER = 100 << 20
_SPARE = 2048
_BF16_TOP = 0x7F80  # all exponent bits: infinite or no number


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as stored.

    Attributes:
        kind: its dtype by safetensors' name.
        raw: its elements; the bits of those that numpy lacks.
        where: the file it is from, or whose it is, for messages.
    """

    kind: str
    raw: Array
    where: str

    @property
    def floats(self) -> bool:
        """Whether it is merged; others are kept as they are."""
        return self.kind in FLOATS

    def part(self, start: int, size: int) -> Floats:
        """A run of elements, row-major, as float32."""
        run = self.raw.reshape(-1)[start : start + size]
        if self.kind == "BF16":
            return (run.astype(np.uint32) << np.uint32(16)).view(np.float32)
        if self.kind in EIGHTHS:
            return EIGHTHS[self.kind][run]
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(run, np.float32)


def held(name: str, value: Any, where: str) -> Tensor:
    """A tensor from an array (or what numpy takes for one).

    Raises:
        PayloadError: no array of numbers.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = f"{where}: numpy cannot read it ({error})"
        raise PayloadError(reason, tensor=name) from None
    if array.dtype.name in BITS:
        kind = BITS[array.dtype.name]
        return Tensor(kind, array.view(DTYPES[kind]), where)
    for kind, code in DTYPES.items():
        if kind not in BITS.values() and array.dtype == np.dtype(code):
            return Tensor(kind, array, where)
    raise PayloadError(f"{where}: dtype {array.dtype} is not merged", tensor=name)


def rounded(name: str, values: npt.NDArray[Any], kind: str) -> Array:
    """Reals in a tensor's dtype, to nearest even.

    Raises:
        BoundsError: a value that the dtype cannot hold.
    """
    with np.errstate(over="ignore"):
        if kind == "BF16":
            made = np.empty(values.shape, np.uint16)
            spare = np.empty(_SPARE, np.float32)
            top = kernels.shorten(values.reshape(-1), spare, made.reshape(-1))
            fits = bool(top < _BF16_TOP)
        elif kind in EIGHTHS:
            made, fits = _eighths(values, EIGHTHS[kind])
        else:
            made = values.astype(DTYPES[kind])
            fits = bool(np.isfinite(made).all())
    if not fits:
        raise BoundsError(f"the merged values do not fit {kind}", tensor=name)
    return made


def _eighths(values: npt.NDArray[Any], table: Floats) -> tuple[Array, bool]:
    """The nearest of 8 bits, ties to even codes, and whether all are in range."""
    sizes = table[:128][np.isfinite(table[:128])].astype(np.float64)
    wanted = np.abs(values)
    middles = (sizes[:-1] + sizes[1:]) / 2
    codes = np.searchsorted(middles, wanted)
    tied = (codes < middles.size) & (codes % 2 == 1)
    tied &= middles[np.minimum(codes, middles.size - 1)] == wanted
    codes = (codes + tied).astype(np.uint8) | (np.signbit(values) * np.uint8(128))
    most = sizes[-1] + (sizes[-1] - sizes[-2]) / 2
    return codes, bool((wanted < most).all())


def _table(exponent_bits: int, bias: int, finite: int) -> Floats:
    """[256] the numbers of an 8-bit float; codes from `finite` on are none."""
    codes, width = np.arange(128), 7 - exponent_bits
    power, fraction = codes >> width, (codes & (1 << width) - 1) / (1 << width)
    normal = np.ldexp(1 + fraction, power - bias)
    sizes = np.where(power, normal, np.ldexp(fraction, 1 - bias))
    sizes[finite:] = np.nan
    return np.concatenate([sizes, -sizes]).astype(np.float32)


EIGHTHS = {"F8_E4M3": _table(4, 7, 127), "F8_E5M2": _table(5, 15, 124)}


def mapped(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A safetensors file's tensors, memory-mapped, and its metadata.

    Raises:
        PayloadError: no safetensors file, or a damaged one.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = int.from_bytes(head, "little")
        if len(head) < 8 or length > min(size - 8, _HEADER):  # noqa: PLR2004
            raise PayloadError(f"{path}: no safetensors file, or cut short")
        try:
            header = json.loads(file.read(length))
            metadata = header.pop("__metadata__", None) or {}
            entries = {str(name): dict(entry) for name, entry in header.items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise PayloadError(f"{path}: its header does not read: {error}") from None
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    data = memoryview(view)[8 + length :]
    tensors = {name: _entry(path, name, one, data) for name, one in entries.items()}
    return tensors, {str(k): str(v) for k, v in metadata.items()}


def _entry(path: Path, name: str, entry: Mapping[str, Any], data: memoryview) -> Tensor:
    try:
        kind, shape = str(entry["dtype"]), [int(d) for d in entry["shape"]]
        start, end = (int(at) for at in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise PayloadError(f"{path}: bad entry: {error!r}", tensor=name) from None
    if kind not in DTYPES:
        raise PayloadError(f"{path}: dtype {kind} is not merged", tensor=name)
    if not 0 <= start <= end <= len(data):
        reason = f"{path}: cut short: bytes {start} to {end} of {len(data)}"
        raise PayloadError(reason, tensor=name)
    code = np.dtype(DTYPES[kind])
    if min(shape, default=0) < 0 or math.prod(shape) * code.itemsize != end - start:
        raise PayloadError(f"{path}: shape and bytes differ", tensor=name)
    raw = np.frombuffer(data[start:end], code).reshape(shape)
    return Tensor(kind, raw, str(path))


def header(
    entries: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]
) -> bytes:
    """The head of a safetensors file with tensors in the order given.

    Args:
        entries: by name the dtype and shape.
        metadata: texts by name.
    """
    listed: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, (kind, shape) in entries.items():
        end = at + math.prod(shape) * np.dtype(DTYPES[kind]).itemsize
        listed[name] = {
            "dtype": kind,
            "shape": list(shape),
            "data_offsets": [at, end],
        }
        at = end
    text = json.dumps(listed, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text

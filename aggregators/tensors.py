"""Named tensors of any dtype, read as float32 runs: arrays, or a mapped file.

bfloat16 is no dtype of numpy's: it is held as uint16 and named "BF16".
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

Array = npt.NDArray[Any]

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
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
FLOATS = ("F64", "F32", "F16", "BF16")
_HEADER = 100 << 20
_BF16_TOP = 0x7F80  # all exponent bits: infinite or no number


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as stored.

    Attributes:
        kind: its dtype by safetensors' name.
        raw: its elements; uint16 for BF16.
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
    if array.dtype.name == "bfloat16":
        return Tensor("BF16", array.view(np.uint16), where)
    for kind, code in DTYPES.items():
        if kind != "BF16" and array.dtype == np.dtype(code):
            return Tensor(kind, array, where)
    raise PayloadError(f"{where}: dtype {array.dtype} is not merged", tensor=name)


def rounded(name: str, values: npt.NDArray[np.float64], kind: str) -> Array:
    """Reals in a tensor's dtype, to nearest even.

    Raises:
        BoundsError: a value that the dtype cannot hold.
    """
    with np.errstate(over="ignore"):
        if kind == "BF16":
            bits = values.astype(np.float32).view(np.uint32)
            odd = (bits >> np.uint32(16)) & np.uint32(1)
            made = ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16)
            fits = bool(((made & _BF16_TOP) != _BF16_TOP).all())
        else:
            made = values.astype(DTYPES[kind])
            fits = bool(np.isfinite(made).all())
    if not fits:
        raise BoundsError(f"the merged values do not fit {kind}", tensor=name)
    return made


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

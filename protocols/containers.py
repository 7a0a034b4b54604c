"""A safetensors file, written canonically and read without trust.

The file: the header's length (8 bytes, little-endian), the header (JSON, padded with
spaces to a multiple of 8), the tensors one behind the other. Only one text is accepted
for a given content: no blanks, ``__metadata__`` first with its keys in order, then the
tensors in the order of their bytes.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .refusals import Reason, RefusedError

Buffer: TypeAlias = bytes | bytearray | memoryview
Array: TypeAlias = npt.NDArray[Any]

LONGEST_HEADER = 1 << 16
"""Bytes: ours need under 2 KiB, and parsing costs many times the text's size."""

_LARGEST = 1 << 63
_MAP_KEYS = {"dtype", "shape", "data_offsets"}
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Container:
    """What a file says and holds.

    Attributes:
        metadata: texts by name.
        tensors: read-only views of the file's bytes by name, in the file's order.
    """

    metadata: Mapping[str, str]
    tensors: Mapping[str, Array]


def pack(metadata: Mapping[str, str], tensors: Mapping[str, Array]) -> bytes:
    """Write a file: tensors in the order given.

    Example:
        >>> data = pack({"version": "1"}, {"w": np.float32([1, 2])})
        >>> unpack(data).tensors["w"]
        array([1., 2.], dtype=float32)
    """
    entries: list[tuple[str, str, Sequence[int], int]] = []
    bodies: list[bytes] = []
    for name, tensor in tensors.items():
        little = np.dtype(tensor.dtype).newbyteorder("<")
        bodies.append(tensor.astype(little, copy=False).tobytes())
        entries.append((name, _NAMES[little], tensor.shape, len(bodies[-1])))
    head = _header(metadata, entries)
    return b"".join([struct.pack("<Q", len(head)), head, *bodies])


def _header(
    metadata: Mapping[str, str], entries: Sequence[tuple[str, str, Sequence[int], int]]
) -> bytes:
    said: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    at = 0
    for name, dtype, shape, size in entries:
        said[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [at, at + size],
        }
        at += size
    text = json.dumps(said, separators=(",", ":"))
    return text.encode() + b" " * (-len(text) % 8)


def unpack(data: Buffer, *, most: int = 0, longest: int = LONGEST_HEADER) -> Container:
    """Read a file; nothing is copied.

    Args:
        data: the file's bytes.
        most: bytes that the file may have; 0: any number.
        longest: bytes that its header may have.

    Raises:
        RefusedError: BAD_HEADER, HEADER_SIZE, INFLATED_SIZE, BAD_DTYPE, BAD_OFFSETS,
            SHAPE_OVERFLOW or SHAPE_MISMATCH.
    """
    whole = memoryview(data).cast("B")
    head = _head(whole, longest)
    if most and len(whole) > most:
        raise RefusedError(Reason.INFLATED_SIZE, f"{len(whole)} bytes, at most {most}")
    said = _parsed(head)
    metadata = said.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(
        isinstance(text, str) for text in metadata.values()
    ):
        raise RefusedError(Reason.BAD_HEADER, "__metadata__ is no map of texts")
    body = whole[8 + len(head) :]
    tensors: dict[str, Array] = {}
    entries: list[tuple[str, str, Sequence[int], int]] = []
    at = 0
    for name, entry in said.items():
        dtype, shape, size = _entry(name, entry, at, len(body))
        flat = np.frombuffer(body[at : at + size], DTYPES[dtype])
        flat.flags.writeable = False
        tensors[name] = flat.reshape(shape)
        entries.append((name, dtype, shape, size))
        at += size
    if at != len(body):
        raise RefusedError(Reason.BAD_OFFSETS, f"{len(body) - at} trailing bytes")
    if _header(metadata, entries) != head:
        raise RefusedError(Reason.BAD_HEADER, "the header is not in canonical form")
    return Container(metadata, tensors)


def _head(whole: memoryview, longest: int) -> bytes:
    if len(whole) < 8:  # noqa: PLR2004 - the length's own bytes
        raise RefusedError(Reason.BAD_HEADER, f"only {len(whole)} bytes")
    (size,) = struct.unpack("<Q", whole[:8])
    if size > len(whole) - 8:
        raise RefusedError(Reason.BAD_HEADER, "the header is longer than the file")
    if size > longest:
        raise RefusedError(Reason.HEADER_SIZE, f"a header of {size} bytes")
    return bytes(whole[8 : 8 + size])


def _parsed(head: bytes) -> dict[str, Any]:
    try:
        said = json.loads(head.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        kind = type(error).__name__
        raise RefusedError(Reason.BAD_HEADER, f"not JSON ({kind})") from None
    if not isinstance(said, dict):
        raise RefusedError(Reason.BAD_HEADER, "not a JSON object")
    return said


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    said = dict(pairs)
    if len(said) != len(pairs):
        raise ValueError("a key is there twice")
    return said


def _entry(
    name: str, entry: Any, at: int, end: int
) -> tuple[str, tuple[int, ...], int]:
    """Dtype, shape and size in bytes of a tensor that should start at `at`."""
    if not isinstance(entry, dict) or entry.keys() != _MAP_KEYS:
        raise RefusedError(Reason.BAD_HEADER, f"{name} lacks dtype, shape or offsets")
    dtype = entry["dtype"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise RefusedError(Reason.BAD_DTYPE, f"{name} has a dtype of another kind")
    shape, offsets = _whole(name, entry["shape"]), _whole(name, entry["data_offsets"])
    if len(offsets) != 2 or offsets[0] != at or offsets[1] < at:  # noqa: PLR2004
        raise RefusedError(Reason.BAD_OFFSETS, f"{name} does not follow the one before")
    if offsets[1] > end:
        raise RefusedError(Reason.BAD_OFFSETS, f"{name} ends past the file")
    elements = 1
    for length in shape:
        elements *= length
        if max(elements, length) >= _LARGEST:
            raise RefusedError(Reason.SHAPE_OVERFLOW, f"{name} has too many elements")
    size = offsets[1] - offsets[0]
    if min(shape, default=0) < 0 or elements * DTYPES[dtype].itemsize != size:
        raise RefusedError(Reason.SHAPE_MISMATCH, f"{name}: shape and bytes differ")
    return dtype, shape, size


def _whole(name: str, given: Any) -> tuple[int, ...]:
    if not isinstance(given, list) or len(given) > 8:  # noqa: PLR2004 - dimensions
        raise RefusedError(Reason.BAD_HEADER, f"{name}: no list of whole numbers")
    if not all(type(one) is int for one in given):
        raise RefusedError(Reason.BAD_HEADER, f"{name}: no list of whole numbers")
    return tuple(given)

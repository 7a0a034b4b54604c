"""Arrays that a server carries from round to round, on disk and read as asked for.

Written array by array and read one at a time: what a full model's worth of them takes
is its bytes on disk, and one array in memory.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from ..protocols.errors import CheckpointError
from . import files

Arrays = Mapping[str, npt.NDArray[Any]]

LARGE = 1 << 26
"""Bytes of arrays above which they are left on disk."""
_KINDS = {"f": "F", "i": "I", "u": "U"}


def write(path: Path, arrays: Arrays) -> int:
    """Write arrays as safetensors, whole or not at all.

    Returns:
        Their bytes.
    """
    names = sorted(arrays)
    listed: dict[str, Any] = {}
    at = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    for name in names:
        one = arrays[name]
        listed[name] = {
            "dtype": _kind(one.dtype),
            "shape": list(one.shape),
            "data_offsets": [at, at + one.nbytes],
        }
        at += one.nbytes
    text = json.dumps(listed, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with part.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            flat = np.ascontiguousarray(arrays[name]).reshape(-1)
            file.write(flat.view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    files.sync(path.parent)
    return at


def _kind(dtype: np.dtype[Any]) -> str:
    """A type by its name in safetensors.

    Example:
        >>> [_kind(np.dtype(one)) for one in ("float32", "uint64", "bool")]
        ['F32', 'U64', 'BOOL']
    """
    bits = 8 * dtype.itemsize
    return "BOOL" if dtype.kind == "b" else f"{_KINDS[dtype.kind]}{bits}"


class Shelf(Mapping[str, npt.NDArray[Any]]):
    """The arrays of a file, each read when it is asked for, and not kept.

    Args:
        path: what `write` wrote; it has to stay there.

    Raises:
        CheckpointError: it is not there or is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with safe_open(path, "numpy") as file:
                self._names = tuple(sorted(file.keys()))
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error})") from error
        except SafetensorError as error:
            raise CheckpointError(f"{path}: is not safetensors ({error})") from error

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        with safe_open(self._path, "numpy") as file:
            return np.array(file.get_tensor(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

"""What identifies a base model, an update, a payload: SHA-256, in hex."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt


def of_bytes(data: bytes | bytearray | memoryview) -> str:
    """Digest of bytes as they are.

    Example:
        >>> of_bytes(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def of_tensors(tensors: Mapping[str, npt.NDArray[Any]]) -> str:
    """Digest of tensors by name: of a model, or of an update.

    Over the tensors in name order: a line of JSON ``[name, dtype, shape]`` with a
    line feed, then the elements, row-major and little-endian. Equal on every machine;
    one tensor at a time is read.

    Example:
        >>> import numpy as np
        >>> one = of_tensors({"w": np.float32([[1, 2]])})
        >>> one == of_tensors({"w": np.float32([1, 2])})
        False
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        little = tensor.astype(tensor.dtype.newbyteorder("<"), order="C", copy=False)
        line = json.dumps([name, tensor.dtype.name, list(tensor.shape)])
        digest.update(line.encode() + b"\n")
        digest.update(little.reshape(-1).data)
    return digest.hexdigest()


def chain(base: str, update: str) -> str:
    """Digest of the model version that folding an update into another one gives.

    It names how a version came to be, so it needs no pass over the model and no
    machine's rounding can change it.

    Args:
        base: digest of the version that the update is folded into.
        update: digest of the update's bytes.

    Example:
        >>> len(chain("a" * 64, "b" * 64))
        64
    """
    return of_bytes(f"{base}{update}".encode())

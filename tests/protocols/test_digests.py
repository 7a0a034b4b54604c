"""Digests: equal exactly where the contents are, and pinned."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from fedelta.protocols import digests


def test_pinned() -> None:
    tensors: dict[str, npt.NDArray[Any]] = {
        "b": np.arange(3, dtype=np.int64),
        "a": np.ones((1, 2), np.float32),
    }
    by_hand = hashlib.sha256(
        b'["a", "float32", [1, 2]]\n'
        + np.ones(2, "<f4").tobytes()
        + b'["b", "int64", [3]]\n'
        + np.arange(3, dtype="<i8").tobytes()
    ).hexdigest()
    assert digests.of_tensors(tensors) == by_hand


def test_what_counts() -> None:
    one = np.arange(6, dtype=np.float32).reshape(2, 3)
    base = digests.of_tensors({"w": one})
    assert digests.of_tensors({"w": np.asfortranarray(one)}) == base
    assert digests.of_tensors({"w": one.astype(">f4")}) == base
    assert digests.of_tensors({"w": one.T}) != base
    assert digests.of_tensors({"v": one}) != base
    assert digests.of_tensors({"w": one.astype(np.float64)}) != base
    assert digests.of_tensors({"w": one[:0]}) != digests.of_tensors({})


def test_chain() -> None:
    expected = hashlib.sha256(b"a" * 64 + b"b" * 64).hexdigest()
    assert digests.chain("a" * 64, "b" * 64) == expected
    assert digests.of_bytes(b"x") == hashlib.sha256(b"x").hexdigest()

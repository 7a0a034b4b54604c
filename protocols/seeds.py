"""Randomness as an argument: numbers addressed by key and position.

Word ``i`` under a key is splitmix64's output function of ``key + (i + 1) * gamma``
(Steele, Lea, Flood, `Fast splittable pseudorandom number generators
<https://doi.org/10.1145/2660193.2660195>`_, 2014). So whatever is drawn depends on
no thread, order, library version or machine, any part of it can be drawn alone, and
a receiver that knows the key can draw it again.
"""

import hashlib
import json
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .normals import inverse

Words = npt.NDArray[np.uint64]

GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def key(*parts: str | int) -> int:
    """A 64-bit key from what it is for: the first 8 bytes of a SHA-256.

    Example:
        >>> key("run", 1, "client") == key("run", 1, "client")
        True
        >>> key("1") == key(1)
        False
    """
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def keys(parts: Sequence[str | int], names: Sequence[str]) -> list[int]:
    """``key(*parts, name)`` of many names.

    Example:
        >>> keys(("run", 1), ["a", "b"]) == [key("run", 1, "a"), key("run", 1, "b")]
        True
    """
    begun = json.dumps(tuple(parts), separators=(",", ":"))[:-1]
    begun += "," if parts else ""
    found = []
    for name in names:
        text = f"{begun}{json.dumps(name)}]".encode()
        found.append(int.from_bytes(hashlib.sha256(text).digest()[:8], "little"))
    return found


def words(key: int, start: int, count: int) -> Words:
    """Words `start` to `start + count` under a key: [count] uint64.

    Example:
        >>> bool((words(7, 0, 9)[5:] == words(7, 5, 4)).all())
        True
    """
    z = np.arange(start + 1, start + 1 + count, dtype=np.uint64)
    z *= GAMMA
    z += np.uint64(key)
    z ^= z >> np.uint64(30)
    z *= _FIRST
    z ^= z >> np.uint64(27)
    z *= _SECOND
    z ^= z >> np.uint64(31)
    return z


def uniform(key: int, start: int, count: int) -> npt.NDArray[np.float64]:
    """[count] multiples of 2^-53 in [0, 1), one from each word."""
    high = words(key, start, count) >> np.uint64(11)
    return high.astype(np.float64) * 2.0**-53


def normal(key: int, start: int, count: int) -> npt.NDArray[np.float64]:
    """[count] standard normal numbers, one from each word.

    By inversion, in additions, multiplications, divisions and square roots alone,
    which IEEE 754 rounds everywhere alike.
    """
    high = words(key, start, count) >> np.uint64(12)
    return inverse((high.astype(np.float64) + 0.5) * 2.0**-52)


def strata(density: float) -> int:
    """The s of "one of s is kept" where 1 / density is an integer; else 0.

    Example:
        >>> strata(0.1), strata(0.05), strata(0.3)
        (10, 20, 0)
    """
    every = round(1 / density)
    return every if math.isclose(every * density, 1) else 0


def kept(key: int, start: int, count: int, density: float) -> npt.NDArray[np.int64]:
    """The places, counted from `start`, of what is kept of a run.

    Of each stratum of s = 1 / density coordinates (counted from coordinate 0) one is
    kept, word ``j`` modulo s of stratum ``j``; where 1 / density is no integer,
    coordinate ``i`` is kept where its uniform number is below the density.

    Args:
        key: the mask's key.
        start: first coordinate.
        count: how many coordinates.
        density: the share to keep, in (0, 1].

    Example:
        >>> kept(3, 0, 12, 0.25) // 4
        array([0, 1, 2])
    """
    every = strata(density)
    if not every:
        return np.flatnonzero(uniform(key, start, count) < density)
    first = start // every
    rows = np.arange(first, -(-(start + count) // every), dtype=np.int64)
    offsets = words(key, first, len(rows)) % np.uint64(every)
    places = rows * every + offsets.astype(np.int64) - start
    inside: npt.NDArray[np.int64] = places[(places >= 0) & (places < count)]
    return inside


def keep(key: int, start: int, count: int, density: float) -> npt.NDArray[np.bool_]:
    """[count] True where a coordinate is kept: `kept` as a mask.

    Example:
        >>> bool((keep(7, 0, 99, 0.2)[50:] == keep(7, 50, 49, 0.2)).all())
        True
    """
    mask = np.zeros(count, np.bool_)
    mask[kept(key, start, count, density)] = True
    return mask


def permutation(key: int, n: int) -> npt.NDArray[np.int64]:
    """[n] the numbers 0 to n - 1 in a keyed order.

    Example:
        >>> sorted(permutation(1, 5).tolist())
        [0, 1, 2, 3, 4]
    """
    order: npt.NDArray[np.int64] = np.argsort(words(key, 0, n), kind="stable")
    return order

"""Normal numbers and coins that nobody can foresee, and that can be drawn again.

A secret of 32 bytes comes from the operating system, once. What is drawn from it is
ChaCha20's keystream under a key for each purpose (HKDF-SHA256), so whoever holds the
secret can draw the same numbers again, and nobody else can tell them from chance. The
keyed generators of `fedelta.protocols.seeds` are no substitute: their keys are public.
"""

import secrets
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .normals import inverse

SIZE = 32

Normals = Callable[[str, int, int], npt.NDArray[np.float64]]
"""(purpose, index, count) to as many standard normal numbers; equal arguments, equal
numbers. `index` counts what is drawn for one purpose (spans); at most 2^24 numbers."""


def fresh() -> bytes:
    """A new secret from the operating system."""
    return secrets.token_bytes(SIZE)


class Secret:
    """A secret, and what is drawn from it.

    Args:
        key: 32 bytes.

    Example:
        >>> one, other = Secret(bytes(32)), Secret(bytes(32))
        >>> bool((one.normals("w", 0, 4) == other.normals("w", 0, 4)).all())
        True
        >>> bool((one.normals("w", 1, 4) == one.normals("w", 0, 4)).any())
        False
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != SIZE:
            raise ValueError(f"a secret has {SIZE} bytes, not {len(key)}")
        self._key = key

    def of(self, *parts: str | int) -> "Secret":
        """A secret for one purpose: it tells nothing of the others, nor of this one."""
        info = "".join(f"{len(str(one))}:{one}" for one in parts).encode()
        return Secret(HKDF(SHA256(), SIZE, None, b"fedelta|" + info).derive(self._key))

    def words(self, index: int, count: int) -> npt.NDArray[np.uint64]:
        """[count] uint64 of the stream of that index."""
        nonce = bytes(8) + index.to_bytes(8, "little")  # the counter starts at 0
        stream = Cipher(ChaCha20(self._key, nonce), None).encryptor()
        return np.frombuffer(stream.update(bytes(8 * count)), "<u8").astype(np.uint64)

    def uniform(self, index: int, count: int) -> npt.NDArray[np.float64]:
        """[count] multiples of 2^-53, moved by half of one: within (0, 1)."""
        whole = (self.words(index, count) >> np.uint64(11)).astype(np.float64)
        return (whole + 0.5) * 2.0**-53

    def normals(self, purpose: str, index: int, count: int) -> npt.NDArray[np.float64]:
        """As `Normals`: none is further out than 8.3 deviations."""
        p = np.minimum(self.of(purpose).uniform(index, count), 1.0 - 2.0**-53)
        return inverse(p)

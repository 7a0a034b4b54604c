"""Keys from keys, and masks from them: X25519, HKDF-SHA256 and ChaCha20.

All three are the `cryptography` package's; here is what we ask of them. A key serves
one purpose in one round: the purpose, the session and both names are in HKDF's info, so
no two keystreams are alike, and each starts at its first byte.

Sources: `RFC 7748 <https://www.rfc-editor.org/rfc/rfc7748>`_, `RFC 5869
<https://www.rfc-editor.org/rfc/rfc5869>`_, `RFC 8439
<https://www.rfc-editor.org/rfc/rfc8439>`_.
"""

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .aborts import Abort, stop
from .lanes import Words

KEY = 32
"""Bytes of a key."""
SEED = 16
"""Bytes of a secret that is shared out: 128 bits, as much as X25519 gives."""
_CHUNK = 1 << 18


def info(*parts: str | int) -> bytes:
    """What a key is for, unambiguously: each part with its length before it.

    Example:
        >>> info("mask", 1, "a")
        b'fedelta|4:mask1:11:a'
    """
    texts = [str(one) for one in parts]
    return b"fedelta|" + "".join(f"{len(one)}:{one}" for one in texts).encode()


def hkdf(secret: bytes, salt: bytes, said: bytes, size: int = KEY) -> bytes:
    """HKDF-SHA256."""
    return HKDF(SHA256(), size, salt, said).derive(secret)


def public(private: bytes) -> bytes:
    """The public X25519 key of 32 private bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agreed(private: bytes, other: bytes) -> bytes:
    """What two parties agree on; not a key yet: hand it to `hkdf`.

    Raises:
        AbortError: BAD_KEY, the other's is no key, or one that makes the result known.
    """
    try:
        theirs = X25519PublicKey.from_public_bytes(other)
        return X25519PrivateKey.from_private_bytes(private).exchange(theirs)
    except ValueError as error:
        stop(Abort.BAD_KEY, f"no usable X25519 key ({error})")


def of_seed(seed: bytes, *parts: str | int) -> bytes:
    """32 private bytes from a seed that is shared out, for one purpose."""
    return hkdf(seed, b"", info("key", *parts))


def add(words: Words, key: bytes, *, minus: bool = False) -> None:
    """Add a key's keystream to words [k], in place, modulo 2^64 or 2^32.

    Args:
        words: little-endian words, changed.
        key: 32 bytes that are used for nothing else.
        minus: take it off instead.

    Example:
        >>> words = np.arange(3, dtype="<u8")
        >>> add(words, bytes(32)), add(words, bytes(32), minus=True)
        (None, None)
        >>> words.tolist()
        [0, 1, 2]
    """
    stream = Cipher(ChaCha20(key, bytes(16)), None).encryptor()
    blank = bytes(min(_CHUNK, words.size) * words.dtype.itemsize)
    for start in range(0, words.size, _CHUNK):
        part = words[start : start + _CHUNK]
        drawn = stream.update(blank[: part.nbytes])
        mask = np.frombuffer(drawn, words.dtype)
        if minus:
            np.subtract(part, mask, out=part)
        else:
            np.add(part, mask, out=part)

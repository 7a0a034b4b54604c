"""Shares of a secret, so many of which give it back, and fewer tell nothing.

The arithmetic is PyCryptodome's (over GF(2^128), coefficients from the operating
system). It cannot tell a wrong share from a right one: commitments do that, in
`fedelta.protocols.dealings`.

Source: Shamir, `How to share a secret <https://doi.org/10.1145/359168.359176>`_, 1979.
"""

from collections.abc import Mapping

from .aborts import Abort, stop
from .errors import ConfigError

SIZE = 16
"""Bytes of a secret, and of a share."""
LEAST = 2


def split(secret: bytes, threshold: int, count: int) -> list[bytes]:
    """Share a secret out; the share of holder k (from 1) is at place k - 1.

    Args:
        secret: 16 bytes.
        threshold: how many shares give it back, from 2.
        count: how many shares there are.

    Raises:
        ConfigError: a threshold that is not from 2 to the number of shares.

    Example:
        >>> shares = split(bytes(range(16)), 2, 3)
        >>> combine({1: shares[0], 3: shares[2]}, 2) == bytes(range(16))
        True
    """
    from Crypto.Protocol.SecretSharing import Shamir

    if not LEAST <= threshold <= count:
        raise ConfigError(f"threshold is {threshold}, allowed: {LEAST} to {count}")
    return [
        bytes(share) for _, share in Shamir.split(threshold, count, secret, ssss=False)
    ]


def combine(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret that shares give, by holder's number; the first so many are taken.

    Raises:
        AbortError: TOO_FEW shares, or one that is none (INCONSISTENT_SHARE).
    """
    from Crypto.Protocol.SecretSharing import Shamir

    if len(shares) < threshold:
        stop(Abort.TOO_FEW, f"{len(shares)} shares, {threshold} are needed")
    taken = sorted(shares.items())[:threshold]
    if any(len(share) != SIZE for _, share in taken):
        stop(Abort.INCONSISTENT_SHARE, f"a share that has not {SIZE} bytes")
    return bytes(Shamir.combine(taken, ssss=False))

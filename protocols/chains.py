"""Signed lines that name the ones before them, and what institutions sign for them.

A line is JSON with a "digest" (of all that it says), a "signature" of the coordinator's
key, and "before": the digest of the line before it. In it stands for each contribution
what its institution signed: the payload's digest, or under masks its advert.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from . import digests
from .errors import CheckpointError

_LINE = b"fedelta.provenance.v1\n"
_CONTRIBUTION = b"fedelta contribution 1\n"


@dataclass(frozen=True, slots=True)
class Proof:
    """A round's line, read back and checked.

    Attributes:
        round: which.
        digest: of the line without its signature: what the next one names.
        said: what it says.
    """

    round: int
    digest: str
    said: Mapping[str, Any]


def canonical(value: Mapping[str, Any]) -> bytes:
    """The bytes that are digested and signed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def line(body: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """What is written for a body that names the line before it."""
    text = canonical(body)
    signature = key.sign(_LINE + text).hex()
    return {**body, "digest": digests.of_bytes(text), "signature": signature}


def proofs(data: bytes, public: str, where: str) -> list[Proof]:
    """Lines, each held to its signature and to the one before it.

    Args:
        data: the file's bytes.
        public: the key that they must be signed by, hex.
        where: the file's name, for errors.

    Raises:
        CheckpointError: no key, or a line is not what was signed.

    Example:
        >>> key = Ed25519PrivateKey.from_private_bytes(bytes(32))
        >>> one = canonical(line({"round": 0, "before": ""}, key))
        >>> public = key.public_key().public_bytes_raw().hex()
        >>> [proof.round for proof in proofs(one, public, "lines")]
        [0]
        >>> proofs(one.replace(b'"round":0', b'"round":1'), public, "lines")
        Traceback (most recent call last):
        fedelta.protocols.errors.CheckpointError: lines, line 1: is not signed by \
this run's key
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    except ValueError as error:
        raise CheckpointError(f"{public}: is no Ed25519 public key") from error
    found: list[Proof] = []
    for place, text in enumerate(data.splitlines(), 1):
        try:
            found.append(_proof(text, key, found))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{where}, line {place}: is broken") from error
        except InvalidSignature as error:
            said = "is not signed by this run's key"
            raise CheckpointError(f"{where}, line {place}: {said}") from error
    return found


def contribution(run: str, client: str, digest: str) -> bytes:
    """What an institution signs of its reply; the payload names round and base itself.

    Args:
        run: the run's id.
        client: who signs.
        digest: the payload's.
    """
    return _CONTRIBUTION + json.dumps([run, client, digest]).encode()


def holds(signer: str, signature: str, said: bytes) -> bool:
    """Whether a key (hex) signed this.

    Example:
        >>> holds("", "", b"")
        False
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer))
        key.verify(bytes.fromhex(signature), said)
    except (ValueError, InvalidSignature):
        return False
    return True


def _proof(text: bytes, key: Ed25519PublicKey, before: Sequence[Proof]) -> Proof:
    given = json.loads(text)
    signature = bytes.fromhex(given.pop("signature"))
    digest = given.pop("digest")
    body = canonical(given)
    key.verify(signature, _LINE + body)
    last = before[-1] if before else None
    follows = given["before"] == (last.digest if last else "")
    if digests.of_bytes(body) != digest or not follows:
        raise ValueError("it does not follow the line before it")
    if last is not None and given["round"] != last.round + 1:
        raise ValueError("a round is missing")
    return Proof(int(given["round"]), digest, given)

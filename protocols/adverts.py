"""What a client says of itself before a masked round, signed by its institution.

An advert holds the round's public keys and commitments to its secrets. It is signed by
the institution's Ed25519 key over the terms' digest; who may take part, and with which
key, every client knows from its own pinned roster, not from the server.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from .aborts import Abort, stop
from .keystreams import info
from .terms import Terms

Pins = Mapping[str, str]
"""By client, its institution's Ed25519 public key, hex."""


@dataclass(frozen=True, slots=True)
class Advert:
    """One client's keys of one masked round; everything is hex.

    Attributes:
        name: whose.
        run: the run's id.
        round: counted from 1.
        attempt: the server's number of this attempt.
        terms: digest of the round's terms.
        sealing: X25519 key that shares are encrypted to.
        masks: by opening, the X25519 key that masks are agreed with.
        selves: by opening, a commitment to the seed of the client's own mask.
        signer: the institution's Ed25519 key.
        signature: over all of the above.
    """

    name: str
    run: str
    round: int
    attempt: str
    terms: str
    sealing: str
    masks: tuple[str, ...]
    selves: tuple[str, ...]
    signer: str
    signature: str = ""

    def body(self) -> bytes:
        """What is signed."""
        return b"fedelta advert 1\n" + replace(self, signature="").to_json().encode()

    def to_json(self) -> str:
        """Canonical text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Advert":
        """Read it back.

        Raises:
            AbortError: WRONG_TERMS, it is none.
        """
        try:
            given = json.loads(text)
            if given.keys() != {one.name for one in fields(cls)}:
                stop(Abort.WRONG_TERMS, "other fields than an advert has")
            for key in ("masks", "selves"):
                given[key] = tuple(given[key])
            found = cls(**given)
            for one in (found.sealing, found.signer, *found.masks, *found.selves):
                if len(bytes.fromhex(one)) != 32:  # noqa: PLR2004
                    stop(Abort.WRONG_TERMS, "a key that has not 32 bytes")
        except (ValueError, TypeError, AttributeError) as error:
            stop(Abort.WRONG_TERMS, f"no advert ({error!r})")
        return found


def signed(advert: Advert, key: Ed25519PrivateKey) -> Advert:
    """An advert with its signature."""
    mine = replace(advert, signer=key.public_key().public_bytes_raw().hex())
    return replace(mine, signature=key.sign(mine.body()).hex())


def committed(seed: bytes, terms: Terms, name: str, opening: int) -> str:
    """A commitment to a seed, which has 128 bits of its own: hex."""
    said = info("self", terms.digest, name, opening)
    return hashlib.sha256(said + seed).hexdigest()


def verify(advert: Advert, terms: Terms, pins: Pins) -> None:
    """Hold an advert to the round and to the roster.

    Raises:
        AbortError: STRANGER, BAD_SIGNATURE, WRONG_ROUND, REPLAYED or WRONG_TERMS.
    """
    name = advert.name
    if name not in terms.names or name not in pins:
        stop(Abort.STRANGER, f"{name!r} is not on the pinned roster of this round")
    if advert.signer != pins[name]:
        stop(Abort.STRANGER, f"{name} signs with another key than the one pinned")
    try:
        signature = bytes.fromhex(advert.signature)
        known = Ed25519PublicKey.from_public_bytes(bytes.fromhex(advert.signer))
        known.verify(signature, advert.body())
    except (InvalidSignature, ValueError):
        stop(Abort.BAD_SIGNATURE, f"of {name}'s advert")
    if (advert.run, advert.round) != (terms.run, terms.round):
        said = f"{name}'s advert is of round {advert.round}, this is {terms.round}"
        stop(Abort.WRONG_ROUND, said)
    if advert.attempt != terms.attempt:
        stop(Abort.REPLAYED, f"{name}'s advert is of another attempt at this round")
    if advert.terms != terms.digest:
        stop(Abort.WRONG_TERMS, f"{name} was told other terms")
    if not len(advert.masks) == len(advert.selves) == terms.passes:
        stop(Abort.WRONG_TERMS, f"{name} has keys for another number of openings")


def gathered(adverts: Iterable[Advert], terms: Terms, pins: Pins) -> dict[str, Advert]:
    """All adverts of a round by name, each verified; no key is there twice.

    Raises:
        AbortError: as `verify`; TOO_FEW; DUPLICATE_KEY.
    """
    found: dict[str, Advert] = {}
    seen: set[str] = set()
    for one in sorted(adverts, key=lambda advert: advert.name):
        verify(one, terms, pins)
        keys = {one.sealing, *one.masks}
        again = one.name in found or len(keys) <= len(one.masks) or keys & seen
        if again:
            stop(Abort.DUPLICATE_KEY, f"{one.name}, or a key of its advert, is twice")
        seen |= keys
        found[one.name] = one
    if len(found) < terms.threshold:
        said = f"{len(found)} adverts, {terms.threshold} are needed"
        stop(Abort.TOO_FEW, said)
    return found


def session(terms: Terms, adverts: Mapping[str, Advert]) -> bytes:
    """32 bytes that name these adverts under these terms: the salt of every key."""
    digest = hashlib.sha256(b"fedelta session 1\n" + terms.digest.encode())
    for name in sorted(adverts):
        digest.update(b"\n" + adverts[name].to_json().encode())
    return digest.digest()

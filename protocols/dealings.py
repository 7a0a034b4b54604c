"""Shares of secrets on their way: dealt, committed to, sealed, opened, and checked.

A client deals two secrets for each opening: the seed of its mask key, which is opened
if it drops out, and the seed of its own mask, which is opened if it does not. What it
deals to one holder is sealed with ChaCha20-Poly1305 under a key that only both have and
that serves one direction of one session, and committed to share by share, so that a
share that comes back is the one that was dealt. Whether the shares of a secret fit each
other shows when it is put together: the mask key must be the advertised one, and the
seed the committed one.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from . import shamirs
from .aborts import Abort, stop
from .adverts import Advert, committed
from .keystreams import agreed, hkdf, info, of_seed, public
from .terms import Terms

MASK, SELF = "mask", "self"
KINDS = (MASK, SELF)
_NONCE = bytes(12)  # a sealing key seals once
_TAG = 16

Shares = dict[str, bytes]
"""By "KIND.OPENING", one holder's share of one dealer's secret."""


@dataclass(frozen=True, slots=True)
class Way:
    """One direction of a session.

    Attributes:
        session: its 32 bytes.
        dealer: who deals.
        holder: who gets.
    """

    session: bytes
    dealer: str
    holder: str

    def key(self, private: bytes, other: str) -> bytes:
        """The sealing key, from one's own private and the other's public one (hex)."""
        secret = agreed(private, bytes.fromhex(other))
        return hkdf(secret, self.session, info("seal", self.dealer, self.holder))

    def said(self) -> bytes:
        """What a seal is bound to beside its key."""
        return self.session + info(self.dealer, self.holder)

    def commitment(self, slot: str, share: bytes) -> str:
        """A commitment to one share, hex: shares are as unforeseeable as secrets."""
        said = info("share", self.session.hex(), self.dealer, self.holder, slot)
        return hashlib.sha256(said + share).hexdigest()


def slots(passes: int) -> list[str]:
    """The secrets that a client deals, in the order in which they are sealed.

    Example:
        >>> slots(2)
        ['mask.0', 'self.0', 'mask.1', 'self.1']
    """
    return [f"{kind}.{opening}" for opening in range(passes) for kind in KINDS]


def dealt(secrets: Mapping[str, bytes], terms: Terms) -> list[Shares]:
    """Secrets by slot as shares, by holder in the order of the terms' names."""
    found: list[Shares] = [{} for _ in terms.names]
    for slot in slots(terms.passes):
        shares = shamirs.split(secrets[slot], terms.threshold, len(terms.names))
        for place, share in enumerate(shares):
            found[place][slot] = share
    return found


def sealed(shares: Shares, key: bytes, way: Way, passes: int) -> bytes:
    """One holder's shares, for its eyes alone."""
    plain = b"".join(shares[slot] for slot in slots(passes))
    return ChaCha20Poly1305(key).encrypt(_NONCE, plain, way.said())


def unsealed(data: bytes, key: bytes, way: Way, passes: int) -> Shares:
    """What `sealed` sealed.

    Raises:
        AbortError: BAD_SEAL.
    """
    names = slots(passes)
    try:
        plain = ChaCha20Poly1305(key).decrypt(_NONCE, data, way.said())
    except InvalidTag:
        stop(Abort.BAD_SEAL, f"what {way.dealer} dealt to {way.holder} was changed")
    if len(plain) != shamirs.SIZE * len(names):
        stop(Abort.BAD_SEAL, f"{way.dealer} dealt {len(plain)} bytes")
    size = shamirs.SIZE
    return {slot: plain[at * size : at * size + size] for at, slot in enumerate(names)}


def size_of_seal(passes: int) -> int:
    """Bytes of one sealed bundle."""
    return shamirs.SIZE * len(slots(passes)) + _TAG


def hold(way: Way, slot: str, share: bytes, commitment: str) -> None:
    """Hold a share to its dealer's commitment.

    Raises:
        AbortError: COMMITMENT_MISMATCH.
    """
    if not hmac.compare_digest(way.commitment(slot, share), commitment):
        said = f"{way.holder}'s share of {way.dealer}'s {slot} is not the one dealt"
        stop(Abort.COMMITMENT_MISMATCH, said)


def opened(
    shares: Mapping[int, bytes], slot: str, advert: Advert, terms: Terms
) -> bytes:
    """A dealer's secret from shares by holder's number: as it was advertised.

    Returns:
        For a mask its private key, for a self mask its seed.

    Raises:
        AbortError: TOO_FEW, or INCONSISTENT_SHARE: the dealer's shares do not fit.
    """
    kind, _, at = slot.partition(".")
    seed = shamirs.combine(shares, terms.threshold)
    if kind == SELF:
        right = committed(seed, terms, advert.name, int(at)) == advert.selves[int(at)]
        found = seed
    else:
        found = of_seed(seed, kind, int(at))
        right = public(found).hex() == advert.masks[int(at)]
    if not right:
        stop(Abort.INCONSISTENT_SHARE, f"the shares that {advert.name} dealt of {slot}")
    return found


def pair_key(
    private: bytes, other: str, session: bytes, names: tuple[str, str], opening: int
) -> bytes:
    """The key of the mask that two clients share in one opening, the same for both."""
    first, second = sorted(names)
    secret = agreed(private, bytes.fromhex(other))
    return hkdf(secret, session, info("pair", opening, first, second))


def self_key(seed: bytes, session: bytes, name: str, opening: int) -> bytes:
    """The key of a client's own mask in one opening."""
    return hkdf(seed, session, info("own", opening, name))

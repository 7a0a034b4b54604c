"""Known answers: the RFCs' where ours is theirs, and our own pinned ones."""

import hashlib

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedelta.protocols import chains, dealings, shamirs
from fedelta.protocols.aborts import AbortError
from fedelta.protocols.adverts import Advert, committed, session
from fedelta.protocols.dealings import Way
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.keystreams import add, agreed, hkdf, info, of_seed, public
from tests.veiled import Cohort, stream, terms


def test_x25519_is_rfc_7748s() -> None:
    """Section 6.1."""
    private = bytes.fromhex(
        "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
    )
    other = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    assert public(private).hex() == (
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    )
    assert agreed(private, bytes.fromhex(other)).hex() == (
        "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    )


def test_hkdf_is_rfc_5869s() -> None:
    """Appendix A.1."""
    found = hkdf(
        bytes([0x0B] * 22),
        bytes(range(13)),
        bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"),
        42,
    )
    assert found.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
        "34007208d5b887185865"
    )


@pytest.mark.parametrize("kind", ["<u8", "<u4"])
def test_a_mask_is_rfc_8439s_keystream(kind: str) -> None:
    """Appendix A.1, test vectors 1 and 2: the first two blocks of the zero key."""
    wanted = bytes.fromhex(
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
    )
    words = np.zeros(128 // np.dtype(kind).itemsize, kind)
    add(words, bytes(32))
    assert words.tobytes() == wanted


def test_a_mask_goes_on_over_chunks_and_comes_off() -> None:
    for kind in ("<u8", "<u4"):
        long = np.arange((1 << 18) + 5).astype(kind)
        short, whole = long[:9].copy(), long.copy()
        add(whole, b"k" * 32)
        add(short, b"k" * 32)
        assert (short == whole[:9]).all()
        assert (whole[-5:] != long[-5:]).any()
        add(whole, b"k" * 32, minus=True)
        assert (whole == long).all()


def test_shares_are_those_of_pycryptodomes_vectors() -> None:
    """Two of three, as its own tests have them (made by B. Poettering's ssss).

    That program adds x^2 to each share, over GF(2^128): 1, 5 and 16, taken off here.
    """
    secret = bytes.fromhex("d9fe73909bae28b3757854c0af7ad405")
    shares = {
        1: bytes.fromhex("594ae8964294174d95c33756d2504170"),
        3: bytes.fromhex("5823de9bf0e068b054b5f07a28056b1b"),
        4: bytes.fromhex("db2c1f8bff46d748f795da995bd080cb"),
    }
    extra = {1: 1, 3: 5, 4: 16}
    shares = {k: v[:-1] + bytes([v[-1] ^ extra[k]]) for k, v in shares.items()}
    for left in shares:
        two = {k: v for k, v in shares.items() if k != left}
        assert shamirs.combine(two, 2) == secret


def test_any_so_many_shares_give_the_secret_and_fewer_do_not() -> None:
    secret = bytes(range(16))
    shares = dict(enumerate(shamirs.split(secret, 3, 5), 1))
    for left in ((1, 2), (2, 5), (3, 4)):
        there = {k: v for k, v in shares.items() if k not in left}
        assert shamirs.combine(there, 3) == secret
    with pytest.raises(AbortError, match="TOO_FEW"):
        shamirs.combine({1: shares[1], 2: shares[2]}, 3)
    assert shamirs.combine({1: shares[1], 2: shares[2]}, 2) != secret
    with pytest.raises(ConfigError, match="allowed: 2 to 5"):
        shamirs.split(secret, 6, 5)


def test_signatures_are_rfc_8032s() -> None:
    """Section 7.1, test 1: the empty message."""
    key = Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex(
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
        )
    )
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    signature = (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    assert key.public_key().public_bytes_raw().hex() == public
    assert key.sign(b"").hex() == signature
    assert chains.holds(public, signature, b"")
    assert not chains.holds(public, signature, b"x")


def test_a_seal_is_the_keystream_from_its_second_block_on() -> None:
    """RFC 8439, section 2.8: the first block is the tag's key; and nothing is open."""
    way, key = Way(bytes(32), "a", "b"), b"k" * 32
    shares = {slot: slot.encode().ljust(16) for slot in dealings.slots(2)}
    data = dealings.sealed(shares, key, way, 2)
    assert len(data) == dealings.size_of_seal(2)
    stream = np.zeros(16, "<u8")
    add(stream, key)
    plain = b"".join(shares[slot] for slot in dealings.slots(2))
    found = bytes(x ^ y for x, y in zip(data[:-16], stream.tobytes()[64:], strict=True))
    assert found == plain
    assert dealings.unsealed(data, key, way, 2) == shares
    back = Way(bytes(32), "b", "a")
    for bad, other in ((data[:-1] + b"x", way), (data, back)):
        with pytest.raises(AbortError, match="BAD_SEAL"):
            dealings.unsealed(bad, key, other, 2)


def test_info_tells_its_parts_apart() -> None:
    assert info("a", "bc") != info("ab", "c") != info("abc")


def test_our_own_vector_stays_what_it_is() -> None:
    """A whole opening from fixed seeds: advert, session, keys and masked words."""
    given = terms("fedavg()", {"a": 1, "b": 2, "c": 3})
    cohort = Cohort(given)
    cohort.begin()
    advert = cohort.server.adverts["b"]
    words = cohort.clients["b"].mask(0, np.arange(5, dtype="<u8"))
    told = {
        "terms": given.digest,
        "advert": hashlib.sha256(advert.to_json().encode()).hexdigest(),
        "session": session(given, cohort.server.adverts).hex(),
        "masked": words.tobytes().hex(),
    }
    assert told == PINNED
    assert Advert.from_json(advert.to_json()) == advert


def test_a_seed_is_committed_to_by_round_and_name() -> None:
    given = terms("fedavg()", {"a": 1, "b": 2, "c": 3})
    seed = stream("x")(16)
    said = {
        committed(seed, given, "a", 0),
        committed(seed, given, "b", 0),
        committed(seed, given, "a", 1),
        committed(stream("y")(16), given, "a", 0),
    }
    assert len(said) == 4
    assert of_seed(seed, dealings.MASK, 0) != of_seed(seed, dealings.MASK, 1)


PINNED = {
    "terms": "ee940ebbada8f81fd3612ee1ad4cf44aa612b2f39b8d350d48a500cad4ae4bf6",
    "advert": "91b1df896349206f4c8878d1746e337d865682bfe7e0575bc064a1539f589f19",
    "session": "c6172d27d56c5d1e331520b4bb85ddde6d5ef01569d2641e431c0fcb8eab2e8c",
    "masked": "d5a7462779475ccdcad78f2f697e81c8"
    "c9e44b308d870817da5321fb6c870f2d158324e16fd820cc",
}

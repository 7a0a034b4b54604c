"""A client's part in a masked round, step by step, without any transport.

Each step is taken once, in its order; what it needs of the steps before is in the
state, which is secret, lives for one round, and is written down in between because the
next message may meet another process. Keys and seeds come from `entropy`, which is
the operating system's.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..protocols import adverts, dealings, keystreams
from ..protocols.aborts import Abort, stop
from ..protocols.adverts import Advert, Pins
from ..protocols.dealings import MASK, SELF, Shares, Way
from ..protocols.lanes import Words
from ..protocols.terms import Terms

Entropy = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Deal:
    """What a client hands to the others through the server.

    Attributes:
        sealed: by holder, its shares, for its eyes alone.
        commitments: by holder and slot, a commitment to the share.
    """

    sealed: Mapping[str, bytes]
    commitments: Mapping[str, Mapping[str, str]]


@dataclass(slots=True)
class Masker:
    """One client in one masked round.

    Attributes:
        terms: the round's.
        name: the client's.
        sealing: its private key that shares are sealed to.
        secrets: by slot, what it deals.
        step: "advertised", "dealt", "held", "sent.K" or "opened.K".
        adverts: all clients', once they are known.
        shares: by dealer, the shares that this client holds.
        among: who is in the opening that is on.
    """

    terms: Terms
    name: str
    sealing: bytes
    secrets: dict[str, bytes]
    step: str = "advertised"
    adverts: dict[str, Advert] = field(default_factory=dict)
    shares: dict[str, Shares] = field(default_factory=dict)
    among: tuple[str, ...] = ()

    @classmethod
    def begin(
        cls, terms: Terms, name: str, signer: Ed25519PrivateKey, entropy: Entropy
    ) -> tuple["Masker", Advert]:
        """Draw the round's keys, and advertise them.

        Raises:
            AbortError: STRANGER, the terms do not name this client.
        """
        if name not in terms.names:
            stop(Abort.STRANGER, f"{name} is not asked in this round")
        secrets = {
            slot: entropy(keystreams.SEED) for slot in dealings.slots(terms.passes)
        }
        made = cls(terms, name, entropy(keystreams.KEY), secrets)
        openings = range(terms.passes)
        keys = [keystreams.public(made._private(one)) for one in openings]
        selves = [
            adverts.committed(secrets[f"{SELF}.{one}"], terms, name, one)
            for one in openings
        ]
        advert = Advert(
            name,
            terms.run,
            terms.round,
            terms.attempt,
            terms.digest,
            keystreams.public(made.sealing).hex(),
            tuple(one.hex() for one in keys),
            tuple(selves),
            "",
        )
        return made, adverts.signed(advert, signer)

    def deal(self, given: Iterable[Advert], pins: Pins) -> Deal:
        """Check who is there, and share the secrets out.

        Raises:
            AbortError: an advert that is refused, too few, or not one's own.
        """
        self._next("advertised", "dealt")
        found = adverts.gathered(given, self.terms, pins)
        own = found.get(self.name)
        if own is None or own.sealing != keystreams.public(self.sealing).hex():
            stop(Abort.WRONG_TERMS, "the adverts are without this client's own")
        self.adverts = found
        shares = dealings.dealt(self.secrets, self.terms)
        sealed: dict[str, bytes] = {}
        commitments: dict[str, dict[str, str]] = {}
        for holder in sorted(found):
            way = Way(self.session, self.name, holder)
            held = shares[self.terms.number(holder) - 1]
            commitments[holder] = {k: way.commitment(k, one) for k, one in held.items()}
            if holder == self.name:
                self.shares[holder] = held
                continue
            key = way.key(self.sealing, found[holder].sealing)
            sealed[holder] = dealings.sealed(held, key, way, self.terms.passes)
        return Deal(sealed, commitments)

    def hold(
        self,
        sealed: Mapping[str, bytes],
        commitments: Mapping[str, Mapping[str, str]],
    ) -> None:
        """Take the shares that others dealt; who dealt is who is masked with.

        Args:
            sealed: by dealer, without this client.
            commitments: by dealer, to this client's shares.

        Raises:
            AbortError: TOO_FEW, BAD_SEAL, COMMITMENT_MISMATCH or STRANGER.
        """
        self._next("dealt", "held")
        among = tuple(sorted({*sealed, self.name}))
        self._enough(among)
        for dealer, data in sorted(sealed.items()):
            if dealer not in self.adverts or dealer == self.name:
                stop(Abort.STRANGER, f"{dealer!r} deals without an advert")
            way = Way(self.session, dealer, self.name)
            key = way.key(self.sealing, self.adverts[dealer].sealing)
            held = dealings.unsealed(data, key, way, self.terms.passes)
            told = commitments.get(dealer, {})
            for slot, share in held.items():
                dealings.hold(way, slot, share, told.get(slot, ""))
            self.shares[dealer] = held
        self.among = among

    def mask(self, opening: int, words: Words) -> Words:
        """Words under this client's masks in one opening: a new array.

        Raises:
            AbortError: WRONG_STEP, this opening was sent already.
        """
        before = "held" if opening == 0 else f"opened.{opening - 1}"
        self._next(before, f"sent.{opening}")
        made = words.copy()
        seed = self.secrets[f"{SELF}.{opening}"]
        own = dealings.self_key(seed, self.session, self.name, opening)
        keystreams.add(made, own)
        private = self._private(opening)
        for other in self.among:
            if other == self.name:
                continue
            theirs = self.adverts[other].masks[opening]
            names = (self.name, other)
            key = dealings.pair_key(private, theirs, self.session, names, opening)
            keystreams.add(made, key, minus=self.name > other)
        return made

    def reveal(self, opening: int, survivors: Iterable[str]) -> dict[str, bytes]:
        """The shares that open a sum over the survivors, one kind of each dealer.

        Returns:
            By dealer: of a survivor the share of its own mask, of one that dropped out
            the share of its mask key; nothing of who is in neither.

        Raises:
            AbortError: WRONG_STEP, WRONG_SURVIVORS, TOO_FEW, or BELOW_RELEASE: more
                were lost since the counts than the terms allow for.
        """
        there = tuple(sorted(set(survivors)))
        if not set(there) <= set(self.among) or self.name not in there:
            stop(Abort.WRONG_SURVIVORS, "others than those that the masks are between")
        self._enough(there)
        lost = len(self.among) - len(there)
        if opening and lost > self.terms.slack:
            stop(
                Abort.BELOW_RELEASE,
                f"{lost} dropped out after the counts, allowed: {self.terms.slack}",
            )
        self._next(f"sent.{opening}", f"opened.{opening}")
        kinds = {name: SELF if name in there else MASK for name in self.among}
        self.among = there
        return {k: self.shares[k][f"{kind}.{opening}"] for k, kind in kinds.items()}

    @property
    def session(self) -> bytes:
        """What names these adverts under these terms."""
        return adverts.session(self.terms, self.adverts)

    def to_json(self) -> str:
        """The state, secrets and all."""
        return json.dumps(
            {
                "terms": self.terms.to_json(),
                "name": self.name,
                "sealing": self.sealing.hex(),
                "secrets": {k: one.hex() for k, one in self.secrets.items()},
                "step": self.step,
                "adverts": {k: asdict(one) for k, one in self.adverts.items()},
                "shares": {
                    dealer: {k: one.hex() for k, one in held.items()}
                    for dealer, held in self.shares.items()
                },
                "among": self.among,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Masker":
        """Read it back."""
        given = json.loads(text)
        return cls(
            Terms.from_json(given["terms"]),
            given["name"],
            bytes.fromhex(given["sealing"]),
            {k: bytes.fromhex(one) for k, one in given["secrets"].items()},
            given["step"],
            {
                k: Advert.from_json(json.dumps(one))
                for k, one in given["adverts"].items()
            },
            {
                dealer: {k: bytes.fromhex(one) for k, one in held.items()}
                for dealer, held in given["shares"].items()
            },
            tuple(given["among"]),
        )

    def _private(self, opening: int) -> bytes:
        return keystreams.of_seed(self.secrets[f"{MASK}.{opening}"], MASK, opening)

    def _enough(self, names: tuple[str, ...]) -> None:
        if len(names) < self.terms.threshold:
            said = f"{len(names)} are left, {self.terms.threshold} are needed"
            stop(Abort.TOO_FEW, said)

    def _next(self, before: str, after: str) -> None:
        if self.step != before:
            said = f"{after} comes after {before}, this client is at {self.step}"
            stop(Abort.WRONG_STEP, said)
        self.step = after

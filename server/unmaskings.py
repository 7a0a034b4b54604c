"""The server's part in a masked round, without any transport: add, and open a sum.

Masked words are added as they come and not kept. A sum is opened once, over those
whose words are in it; what opens it are shares, each held to its dealer's commitment,
each secret to what was advertised. Anything that does not fit ends the round by name
with nothing opened.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..protocols import adverts, dealings, keystreams
from ..protocols.aborts import Abort, AbortError, stop
from ..protocols.adverts import Advert, Pins
from ..protocols.dealings import MASK, SELF, Way
from ..protocols.lanes import Words
from ..protocols.terms import Terms

Commitments = Mapping[str, Mapping[str, str]]
Reveals = Mapping[str, Mapping[str, bytes]]
"""By holder and dealer, the share that the holder reveals."""


@dataclass(slots=True)
class Opening:
    """One sum.

    Attributes:
        number: 0: counts, or all there is; 1: values.
        among: between whom the masks are.
        words: the sum of the masked words so far.
        inside: whose words are in it.
    """

    number: int
    among: tuple[str, ...]
    words: Words
    inside: set[str] = field(default_factory=set)


class Unmasking:
    """One masked round as the server sees it.

    Args:
        terms: the round's.
        pins: by client, the key that it must sign with.

    Attributes:
        adverts: of those who take part.
        commitments: by dealer, holder and slot.
        sealed: by dealer and holder, what only the holder can read.
    """

    def __init__(self, terms: Terms, pins: Pins) -> None:
        self.terms = terms
        self.adverts: dict[str, Advert] = {}
        self.commitments: dict[str, Commitments] = {}
        self.sealed: dict[str, Mapping[str, bytes]] = {}
        self._pins = dict(pins)

    def pin(self, name: str, key: str) -> None:
        """Take a client's signing key (hex) for the one it must sign with."""
        self._pins[name] = key

    def introduce(self, given: Iterable[Advert]) -> None:
        """Take the adverts.

        Raises:
            AbortError: as `fedelta.protocols.adverts.gathered`.
        """
        self.adverts = adverts.gathered(given, self.terms, self._pins)

    def deal(
        self, dealer: str, sealed: Mapping[str, bytes], commitments: Commitments
    ) -> None:
        """Take what one client deals.

        Raises:
            AbortError: WRONG_TERMS, it does not deal to everybody.
        """
        others = self.adverts.keys() - {dealer}
        slots = set(dealings.slots(self.terms.passes))
        whole = commitments.keys() == self.adverts.keys() and all(
            one.keys() == slots for one in commitments.values()
        )
        if dealer not in self.adverts or sealed.keys() != others or not whole:
            stop(Abort.WRONG_TERMS, f"{dealer} deals to others than those who are here")
        self.sealed[dealer] = dict(sealed)
        self.commitments[dealer] = commitments

    def dealers(self) -> tuple[str, ...]:
        """Who has dealt: between them the masks are.

        Raises:
            AbortError: TOO_FEW.
        """
        return self._enough(self.sealed)

    def opening(self, number: int, among: Iterable[str], size: int) -> Opening:
        """An empty sum of so many words."""
        blank = np.zeros(size, f"<u{self.terms.lane // 8}")
        return Opening(number, tuple(sorted(among)), blank)

    def add(self, opening: Opening, name: str, data: bytes) -> None:
        """Add one client's masked words.

        Raises:
            AbortError: LANE_RANGE, another number of bytes; WRONG_STEP, twice;
                STRANGER, nobody that the masks are between.
        """
        if name not in opening.among:
            stop(Abort.STRANGER, f"{name} has dealt nothing")
        if name in opening.inside:
            stop(Abort.WRONG_STEP, f"{name} sends a second time")
        if len(data) != opening.words.nbytes:
            stop(
                Abort.LANE_RANGE,
                f"{name} sends {len(data)} bytes, {opening.words.nbytes} are asked",
            )
        opening.words += np.frombuffer(data, opening.words.dtype)
        opening.inside.add(name)

    def survivors(self, opening: Opening) -> tuple[str, ...]:
        """Whose words are in a sum.

        Raises:
            AbortError: TOO_FEW, or BELOW_RELEASE: more were lost since the counts than
                the terms allow for.
        """
        there = self._enough(opening.inside)
        lost = len(opening.among) - len(there)
        if opening.number and lost > self.terms.slack:
            said = f"{lost} dropped out after the counts, allowed: {self.terms.slack}"
            stop(Abort.BELOW_RELEASE, said)
        return there

    def open(
        self, opening: Opening, revealed: Reveals
    ) -> tuple[Words, dict[str, AbortError]]:
        """Take the masks off a sum.

        Args:
            opening: the sum.
            revealed: by holder, what it reveals.

        Returns:
            The sum's words; and by holder, why what it revealed was left out.

        Raises:
            AbortError: TOO_FEW good shares of a secret, or INCONSISTENT_SHARE.
        """
        there = self.survivors(opening)
        secrets: dict[str, bytes] = {}
        wrong: dict[str, AbortError] = {}
        for dealer in opening.among:
            slot = f"{SELF if dealer in there else MASK}.{opening.number}"
            shares: dict[int, bytes] = {}
            for holder in revealed.keys() & set(there):
                try:
                    share = self._held(dealer, holder, slot, revealed[holder])
                except AbortError as error:
                    wrong[holder] = error
                else:
                    shares[self.terms.number(holder)] = share
            secrets[dealer] = dealings.opened(
                shares, slot, self.adverts[dealer], self.terms
            )
        return self._bare(opening, there, secrets), wrong

    def _held(
        self, dealer: str, holder: str, slot: str, revealed: Mapping[str, bytes]
    ) -> bytes:
        way = Way(adverts.session(self.terms, self.adverts), dealer, holder)
        share = revealed.get(dealer, b"")
        dealings.hold(way, slot, share, self.commitments[dealer][holder][slot])
        return share

    def _bare(
        self, opening: Opening, there: tuple[str, ...], secrets: Mapping[str, bytes]
    ) -> Words:
        words, number = opening.words.copy(), opening.number
        session = adverts.session(self.terms, self.adverts)
        for name in there:
            key = dealings.self_key(secrets[name], session, name, number)
            keystreams.add(words, key, minus=True)
        for gone in set(opening.among) - set(there):
            for name in there:  # name added this mask, or took it off if it is later
                theirs, names = self.adverts[name].masks[number], (gone, name)
                key = dealings.pair_key(secrets[gone], theirs, session, names, number)
                keystreams.add(words, key, minus=name < gone)
        return words

    def _enough(self, names: Iterable[str]) -> tuple[str, ...]:
        there = tuple(sorted(names))
        if len(there) < self.terms.threshold:
            said = f"{len(there)} are left, {self.terms.threshold} are needed"
            stop(Abort.TOO_FEW, said)
        return there

"""A masked round over a grid: its phases, one question to every client each.

Adverts, shares, masked inputs, and shares that open their sum; where counts come first,
masked values and their shares too. A client that fails a step is out of the steps that
follow; when too few are left, or anything does not fit, the round ends by name and
nothing is opened. What was opened is on disk before anything is made of it, so that a
server that is killed does not ask for it again.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Message
from flwr.serverapp import Grid

from ..aggregators import agreements, portions, supports
from ..aggregators.agreements import Where
from ..aggregators.base import Key
from ..aggregators.fields import Open, State, enough
from ..client import signatures
from ..protocols import dealings
from ..protocols.aborts import Abort, AbortError, stop
from ..protocols.adverts import Advert, verify
from ..protocols.lanes import Lanes, Numbers
from ..protocols.messages import add_parcel
from ..protocols.terms import Terms
from . import charges
from .exchanges import TRAIN, Exchange, Said
from .outcomes import FOLDER, Outcome, keep
from .rosters import Member
from .rounds import message_to
from .sessions import Session
from .unmaskings import Opening, Unmasking


class Masking:
    """One masked round.

    Args:
        session: the run.
        number: the round.
        asked: whom it asks.
        grid: reaches them.

    Attributes:
        exchange: its questions and answers.
    """

    def __init__(
        self, session: Session, number: int, asked: Sequence[Member], grid: Grid
    ) -> None:
        self._session, self._number = session, number
        self._members = {one.name: one for one in asked}
        self._layout = session.layout(next(iter(self._members)))
        self._choice = agreements.choice(session.config)
        self._bits = self._public()
        self._terms = self._drawn()
        self._server = Unmasking(self._terms, {})
        self.exchange = Exchange(
            grid,
            {one.name: one.node for one in asked},
            {"run": session.run, "round": number, "attempt": self._terms.attempt},
            session.config.round.deadline_seconds,
        )
        self._sent: dict[str, Message] = {}

    @property
    def terms(self) -> Terms:
        """The round's."""
        return self._terms

    def begin(self) -> list[Message]:
        """Exchange keys and shares; gives the messages that ask for masked inputs.

        Raises:
            AbortError: too few are left.
        """
        first = {"step": "advert", "terms": self._terms.to_json()}
        adverts = list(self._adverts(self.exchange.ask(self._members, first)))
        self._server.introduce(adverts)
        texts = [one.to_json() for one in adverts]
        second = {"step": "shares", "adverts": texts}
        there = [one.name for one in adverts]
        for name, (said, blobs) in self.exchange.ask(there, second):
            try:
                self._dealt(name, said, blobs)
            except (AbortError, KeyError, TypeError, AttributeError) as error:
                self.exchange.leave(name, error)
        dealers = self._server.dealers()
        self._sent = {name: self._input(name, dealers) for name in dealers}
        return list(self._sent.values())

    def finish(self, replies: Iterable[Message]) -> Outcome:
        """Add masked inputs, and open what may be opened.

        Raises:
            AbortError: by name, why nothing (more) is opened.
        """
        state, size = portions.state(self._terms), self._size()
        lanes = state.counts if self._terms.passes > 1 else state.values
        opening = self._server.opening(0, self._server.dealers(), lanes.words(size))
        self._add(opening, self.exchange.matched(self._sent, replies))
        numbers = self._open(opening, lanes, size)
        survivors = self._server.survivors(opening)
        places = self._places()
        report = {"masked.bytes": float(opening.words.nbytes)}
        if self._terms.passes > 1:
            opened = enough(numbers, self._terms)
            report |= _told(numbers, opened)
            numbers, survivors = self._second(state, opened, survivors)
            places = places[opened.any(axis=0)]
        planes = state.read(numbers, self._terms.held(survivors))
        adverts = tuple(self._server.adverts[one] for one in survivors)
        made = Outcome(self._terms, survivors, planes, places, report, adverts)
        keep(self._session, made)
        return made

    def _second(
        self, state: State, opened: Open, among: tuple[str, ...]
    ) -> tuple[Numbers, tuple[str, ...]]:
        """The values of what may be opened, over whoever is still there."""
        there = int(opened.any(axis=0).sum())
        if not there:
            stop(
                Abort.BELOW_RELEASE,
                "no element has enough clients behind it: nothing is opened",
            )
        size = opened.shape[1]
        bits = [supports.written(np.flatnonzero(one), size) for one in opened]
        opening = self._server.opening(1, among, state.values.words(there))
        asked = self.exchange.ask(among, {"step": "values"}, bits)
        self._add(opening, asked)
        numbers = self._open(opening, state.values, there)
        return numbers, self._server.survivors(opening)

    def _open(self, opening: Opening, lanes: Lanes, size: int) -> Numbers:
        there = self._server.survivors(opening)
        charges.charge(self._session, self._terms, there)
        ask = {
            "step": "unmask",
            "opening": opening.number,
            "survivors": list(there),
        }
        revealed: dict[str, dict[str, bytes]] = {}
        for name, (said, _) in self.exchange.ask(there, ask):
            try:
                shares = {k: bytes.fromhex(v) for k, v in said["shares"].items()}
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self.exchange.leave(name, error)
            else:
                revealed[name] = shares
        words, wrong = self._server.open(opening, revealed)
        for name, why in wrong.items():
            self.exchange.leave(name, why)
        held = self._terms.held(there)
        return lanes.unpack(words, size, held, len(there))

    def _adverts(self, said: Iterable[tuple[str, Said]]) -> Iterator[Advert]:
        """Those that hold, each with the key under which its name was seen first."""
        path = self._session.journal.folder / FOLDER / "pins.json"
        for name, (text, _) in said:
            try:
                advert = Advert.from_json(str(text.get("advert")))
                if advert.name != name:
                    stop(Abort.STRANGER, f"{name} advertises {advert.name!r}")
                pins = signatures.first_seen(path, [advert])
                verify(advert, self._terms, pins)
            except AbortError as error:
                self.exchange.leave(name, error)
            else:
                self._server.pin(name, pins[name])
                yield advert

    def _dealt(
        self, name: str, said: Mapping[str, Any], blobs: Sequence[bytes]
    ) -> None:
        size = dealings.size_of_seal(self._terms.passes)
        holders = [str(one) for one in said["holders"]]
        whole = blobs[0] if blobs else b""
        cut = [whole[at : at + size] for at in range(0, len(whole), size)]
        if len(cut) != len(holders):
            stop(Abort.BAD_SEAL, f"{name} deals {len(cut)} bundles")
        sealed = dict(zip(holders, cut, strict=True))
        self._server.deal(name, sealed, said["commitments"])

    def _input(self, name: str, dealers: Sequence[str]) -> Message:
        """The plan, with what the others dealt to this client."""
        others = [one for one in dealers if one != name]
        text = {
            "step": "input",
            "dealers": others,
            "commitments": {one: self._server.commitments[one][name] for one in others},
        }
        sealed = b"".join(self._server.sealed[one][name] for one in others)
        blobs = [sealed, self._bits] if self._bits else [sealed]
        made = message_to(self._session, self._members[name], self._number, TRAIN)
        add_parcel(made.content, self.exchange.text(text), blobs)
        return made

    def _add(self, opening: Opening, said: Iterable[tuple[str, Said]]) -> None:
        for name, (_, blobs) in said:
            try:
                self._server.add(opening, name, blobs[0] if blobs else b"")
            except AbortError as error:
                self.exchange.leave(name, error)

    def _drawn(self) -> Terms:
        session = self._session
        where = Where(
            session.run, self._number, session.model.base, self._layout.fingerprint
        )
        weights = {name: one.weight for name, one in self._members.items()}
        shares = agreements.shared(weights, session.config)
        named = supports.digest(self._bits) if self._bits else ""
        attempt = secrets.token_hex(16)
        return agreements.drawn(session.config, where, shares, attempt, named)

    def _public(self) -> bytes:
        """The places that all send where they follow the last update; else nothing."""
        if self._choice.kind != "public":
            return b""
        updates = self._session.model.updates
        last = updates[-1].tensors if updates else None
        key = Key(self._session.run, self._number)
        places = supports.public(self._layout, self._choice.density, key, last)
        return supports.written(places, self._layout.size)

    def _places(self) -> npt.NDArray[np.int64]:
        """Where the contributions have their values."""
        if self._bits:
            return supports.restored(self._bits, self._layout.size)
        if self._choice.kind == "keyed":
            key = Key(self._session.run, self._number)
            return supports.keyed(self._layout, self._choice.density, key)
        return np.arange(self._layout.size, dtype=np.int64)

    def _size(self) -> int:
        return len(self._places())


def _told(members: Numbers, opened: Open) -> dict[str, float]:
    """What the counts say: how much is opened, and how much stays closed."""
    there = max(int((members > 0).sum()), 1)
    return {
        "opened": float(opened.sum()) / there,
        "closed": float(((members > 0) & ~opened).sum()) / there,
    }

"""One round's replies, from the question to the seal.

Each reply is judged, sealed and recorded as it comes, whatever the slow ones do.
"""

from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from ..protocols import digests
from ..protocols.refusals import Reason, Refusal
from . import signings
from .admission import Admitted, Rules, admit
from .engine import Receipt, receipt
from .journal import Journal, Sealed
from .records import Record
from .regions.climbs import vouched
from .regions.trees import voucher
from .rosters import Member


class Arrivals:
    """What came of one round's questions.

    Args:
        number: the round.
        asked: whom it asks.
        rules: what each client's reply is held to.
        journal: where accepted ones are sealed; those sealed before are taken over.
        record: where verdicts are told.
        heads: by client, the region that may vouch for its reply.
        since: by client, the round that it was asked in, where that is an earlier one.

    Attributes:
        accepted: sealed replies by client.
        refused: how often which reason was met.
        since: as given, with what the seals say.
        unanswered: by client, the question that it left without an answer.
        up: bytes received.
        down: bytes sent.
    """

    def __init__(  # noqa: PLR0913  one argument a part
        self,
        number: int,
        asked: Sequence[Member],
        rules: Mapping[str, Rules],
        journal: Journal,
        record: Record,
        *,
        heads: Mapping[str, str] | None = None,
        since: Mapping[str, int] | None = None,
    ) -> None:
        self.since = dict(since or {})
        self._heads = dict(heads or {})
        self.number = number
        self.asked = {member.name: member for member in asked}
        self.rules = rules
        self.accepted: dict[str, Sealed] = {}
        self.refused: Counter[str] = Counter()
        self.up = 0
        self.down = 0
        self._journal = journal
        self._record = record
        self._sent: list[tuple[Message, str]] = []
        self.unanswered: dict[str, Message] = {}
        for name, sealed in journal.sealed(number).items():
            if name in self.asked:
                self.since[name] = int(sealed.note.get("since", number))
                self._keep(name, sealed)

    @property
    def missing(self) -> list[Member]:
        """Who was asked and has no accepted reply, in name order."""
        return [one for name, one in self.asked.items() if name not in self.accepted]

    @property
    def stale(self) -> dict[str, int]:
        """By client with an accepted reply, how many versions it is behind."""
        return {n: self.number - self.since.get(n, self.number) for n in self.accepted}

    def expect(
        self,
        messages: Iterable[tuple[Message, Member]],
        flying: Mapping[str, Message] | None = None,
    ) -> list[Message]:
        """Note who is asked by which message.

        Args:
            messages: to be sent.
            flying: by client, what was sent in an earlier round and not answered.

        Returns:
            Those to be sent.
        """
        sent = [(message, member.name) for message, member in messages]
        before = [(one, name) for name, one in (flying or {}).items()]
        self._sent = sent + [one for one in before if one[1] in self.asked]
        return [message for message, _ in sent]

    def receive(
        self,
        replies: Iterable[Message],
        grid: Grid,
        enough: int = 0,
        *,
        patient: bool = False,
    ) -> None:
        """Take replies as they come; whoever is silent at the end is refused too.

        Args:
            replies: as the grid hands them on.
            grid: knows what they cost.
            enough: so many accepted replies end it; whoever is still at it is silent
                then. 0: all.
            patient: silence is no refusal.
        """
        waiting: dict[str, str] = {}
        silent = {name for _, name in self._sent}
        for reply in replies if not self._over(enough) else ():
            if not waiting:  # only now do messages have their ids
                waiting = {m.metadata.message_id: name for m, name in self._sent}
            name = waiting.get(reply.metadata.reply_to_message_id)
            if name is None:
                self.refused[Reason.SPOOFED_METADATA] += 1
                continue
            silent.discard(name)
            self._take(name, reply, receipt(grid, reply))
            if self._over(enough):
                break
        if isinstance(replies, Generator):
            replies.close()  # the grid knows now whom nobody waits for here
        self.unanswered = {n: one for one, n in self._sent if n in silent}
        late = Refusal(Reason.LATE, "enough replies were there")
        for name in () if patient else sorted(silent):
            message = self.unanswered[name]
            why = late if self._over(enough) else silence(grid, message)
            self._refuse(name, why, receipt(grid, message))
        self._sent = []

    def _over(self, enough: int) -> bool:
        return bool(enough) and len(self.accepted) >= enough

    def take(self, sealed: Sealed) -> None:
        """Count a contribution in that came another way than as a payload."""
        self._keep(sealed.client, sealed)

    def refuse(self, name: str, refusal: Refusal, cost: Receipt) -> None:
        """Count one out that came, or did not, another way."""
        self._refuse(name, refusal, cost)

    def _take(self, name: str, reply: Message, cost: Receipt) -> None:
        if cost.spoofed:
            self.refused[Reason.SPOOFED_METADATA] += 1
        if name in self.accepted:
            self._refuse(name, Refusal(Reason.DUPLICATE), cost)
            return
        if name in self._heads and (said := voucher(reply)) is not None:
            self._vouch(name, said, cost)
            return
        found = admit(reply, self.asked[name], self.rules[name])
        if isinstance(found, Refusal):
            self._refuse(name, found, cost)
            return
        run, folder = self.rules[name].context.run, self._journal.folder
        signed = signings.signed(reply.content, run, name, found.data, folder)
        if isinstance(signed, Refusal):
            self._refuse(name, signed, cost)
            return
        note = _note(found, cost) | signed | self._staleness(name)
        self._keep(name, self._journal.seal(self.number, name, found.data, note))

    def _staleness(self, name: str) -> dict[str, int]:
        """What a stale reply's seal and line say beside the rest."""
        since = self.since.get(name, self.number)
        stale = self.number - since
        return {"since": since, "stale": stale} if stale else {}

    def _vouch(self, name: str, said: Mapping[str, Any], cost: Receipt) -> None:
        """Take a region's word for a reply that it keeps until it is added up."""
        most, cap = self.asked[name].examples, self.rules[name].norm_cap
        note = vouched(said, most, cap)
        if not isinstance(note, Refusal):
            run, folder = self.rules[name].context.run, self._journal.folder
            signed = signings.vouched(said, run, name, folder)
            note = signed if isinstance(signed, Refusal) else note | signed
        if isinstance(note, Refusal):
            self._refuse(name, note, cost)
            return
        note |= {"region": self._heads[name], "bytes": cost.up, "down": cost.down}
        note["seconds"] = round(cost.seconds, 3)
        self._keep(name, Sealed(name, Path(), note))

    def behind(self) -> dict[str, list[str]]:
        """By region, the clients whose accepted replies it keeps."""
        found: dict[str, list[str]] = {}
        for name, sealed in sorted(self.accepted.items()):
            if region := sealed.note.get("region"):
                found.setdefault(str(region), []).append(name)
        return found

    def lose(self, names: Iterable[str]) -> None:
        """Take back what was accepted: its region is gone."""
        for name in sorted(names):
            region = self.accepted.pop(name).note["region"]
            gone = Refusal(Reason.TIMEOUT, f"region {region} was gone when it counted")
            self._refuse(name, gone, Receipt(0))

    def _keep(self, name: str, sealed: Sealed) -> None:
        self.accepted[name] = sealed
        self._tell(name, {"verdict": "accepted", "reason": None, **sealed.note})

    def _refuse(self, name: str, refusal: Refusal, cost: Receipt) -> None:
        self.refused[refusal.reason] += 1
        self._tell(
            name,
            {
                "verdict": "refused",
                "reason": str(refusal.reason),
                "detail": refusal.detail,
                "bytes": cost.up,
                "down": cost.down,
                "seconds": round(cost.seconds, 3),
            },
        )

    def _tell(self, name: str, said: dict[str, Any]) -> None:
        self.up += int(said["bytes"])
        self.down += int(said["down"])
        self._record.add("contribution", round=self.number, client=name, **said)


def silence(grid: Grid, message: Message) -> Refusal:
    """Why a message has no reply: nothing came, or not all of it."""
    if message.metadata.message_id in getattr(grid, "stalled", ()):
        return Refusal(Reason.UPLOAD_STALLED, "announced, and not uploaded in time")
    return Refusal(Reason.TIMEOUT)


def _note(found: Admitted, cost: Receipt) -> dict[str, Any]:
    numbers = {
        name: value for name, value in found.metrics.items() if name != "seconds"
    }
    return {
        "bytes": cost.up,
        "down": cost.down,
        "payload": len(found.data),
        "wire": found.payload.header.wire,
        "formats": found.payload.formats(),
        "norm": found.norm,
        "weight": found.payload.header.weight,
        "seconds": round(cost.seconds, 3),
        "digest": digests.of_bytes(found.data),
        "loss": numbers.pop("loss", None),
        "metrics": numbers,
    }

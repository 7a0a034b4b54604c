"""One round's replies, from the question to the seal.

Each reply is judged, sealed and recorded as it comes, whatever the slow ones do.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from ..protocols import digests
from ..protocols.refusals import Reason, Refusal
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

    Attributes:
        accepted: sealed replies by client.
        refused: how often which reason was met.
        up: bytes received.
        down: bytes sent.
    """

    def __init__(
        self,
        number: int,
        asked: Sequence[Member],
        rules: Mapping[str, Rules],
        journal: Journal,
        record: Record,
        heads: Mapping[str, str] | None = None,
    ) -> None:
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
        for name, sealed in journal.sealed(number).items():
            if name in self.asked:
                self._keep(name, sealed)

    @property
    def missing(self) -> list[Member]:
        """Who was asked and has no accepted reply, in name order."""
        return [one for name, one in self.asked.items() if name not in self.accepted]

    def expect(self, messages: Iterable[tuple[Message, Member]]) -> list[Message]:
        """Note who is asked by which message."""
        self._sent = [(message, member.name) for message, member in messages]
        return [message for message, _ in self._sent]

    def receive(self, replies: Iterable[Message], grid: Grid) -> None:
        """Take replies as they come; whoever is silent at the end is refused too."""
        waiting: dict[str, str] = {}
        for reply in replies:
            if not waiting:  # only now do messages have their ids
                waiting = {m.metadata.message_id: name for m, name in self._sent}
                silent = set(waiting.values())
            name = waiting.get(reply.metadata.reply_to_message_id)
            if name is None:
                self.refused[Reason.SPOOFED_METADATA] += 1
                continue
            silent.discard(name)
            self._take(name, reply, receipt(grid, reply))
        if not waiting:
            silent = {name for _, name in self._sent}
        costs = {name: receipt(grid, message) for message, name in self._sent}
        for name in sorted(silent):
            self._refuse(name, Refusal(Reason.TIMEOUT), costs[name])
        self._sent = []

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
        note = _note(found, cost)
        self._keep(name, self._journal.seal(self.number, name, found.data, note))

    def _vouch(self, name: str, said: Mapping[str, Any], cost: Receipt) -> None:
        """Take a region's word for a reply that it keeps until it is added up."""
        most, cap = self.asked[name].examples, self.rules[name].norm_cap
        note = vouched(said, most, cap)
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

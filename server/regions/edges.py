"""A region's work: what it is asked from above, it asks its own clients and regions.

Replies climb as they came, or stay here, and vouchers climb, then the state of all of
them together. Every reply is on disk before anything is said of it, so that a region
that was killed answers the same when it is asked again.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from ...aggregators import branches
from ...aggregators.scales import Numbers
from ...client.identities import stem
from ...protocols import digests
from ...protocols.bundles import Answer, Ask, Asked
from ...protocols.errors import PayloadError
from ...protocols.messages import plan_content, read_metrics, read_reply, to_bytes
from ...protocols.plans import RoundPlan
from ...protocols.refusals import Reason, Refusal
from ...protocols.settings import Config
from .. import files
from ..engine import receipt
from ..journal import Journal
from ..records import Record
from .holdings import Holdings
from .parcels import PATIENCE, Found, bundle, given, packed, unpacked

LOG = logging.getLogger("fedelta.region")
TYPES = {
    "query": MessageType.QUERY,
    "train": MessageType.TRAIN,
    "evaluate": MessageType.EVALUATE,
}
"""The type of the message that brings a client each kind of question."""


class Edge:
    """One run's work in a region.

    Args:
        grid: reaches the region's own clients and the regions below, by node.
        nodes: the node of each, by name.
        config: the run's settings.
        run: the run's id.
        journal: the region's folder of the run.
        record: told of every reply.
    """

    def __init__(
        self,
        grid: Grid,
        nodes: Mapping[str, int],
        config: Config,
        run: str,
        journal: Journal,
        record: Record,
    ) -> None:
        self._grid = grid
        self._nodes = nodes
        self._journal = journal
        self._record = record
        self.holdings = Holdings(config, journal, run)

    def answer(self, data: bytes, age: float = 0.0) -> bytes:
        """Do what is asked from above.

        Args:
            data: the question.
            age: seconds since it came; so much less is there for those below.

        Raises:
            PayloadError: nothing that a region is asked.
        """
        ask = Ask.read(data)
        ask = replace(ask, seconds=max(ask.seconds - age, 1.0))
        if ask.kind == "reduce":
            return self._reduce(ask)
        found = Found()
        if ask.kind == "survey":
            own = [one.client for one in ask.asked if not one.region]
            survey = self.holdings.survey(ask.round, own)
            found.surveys += [] if survey is None else [survey]
            for _, reply in self._below(ask):
                found.join(Answer.read(reply))
        else:
            self._forward(ask, found)
        return found.answer().data()

    def _forward(self, ask: Ask, found: Found) -> None:
        """Ask clients, through regions below where they are behind one."""
        if ask.kind == "train":
            self._known(ask, found)
            if ask.vouch:
                self._enrol(ask)
        waiting = [one for one in ask.asked if not found.told(one.client)]
        sent = self._messages(ask, waiting, found)
        below = self._bundles(replace(ask, asked=tuple(waiting)), found)
        messages = [*(message for _, message in sent), *below.values()]
        limit = ask.seconds * PATIENCE
        for reply in self._grid.send_and_receive(messages, timeout=limit):
            self._sort(ask, reply, sent, below, found)
        if ask.kind == "train" and ask.vouch:
            own = [name for name in found.vouchers if name in self._nodes]
            survey = self.holdings.survey(ask.round, own)
            found.surveys += [] if survey is None else [survey]
        for one in ask.asked:
            if not found.told(one.client):
                found.errors[one.client] = str(Reason.TIMEOUT)

    def _messages(
        self, ask: Ask, waiting: Iterable[Asked], found: Found
    ) -> list[tuple[Asked, Message]]:
        """One message to each of the region's own clients."""
        made = []
        for one in waiting:
            if not one.region and one.client in self._nodes:
                made.append((one, self._message(ask, one)))
            elif not one.region:
                found.errors[one.client] = "nobody of that name is admitted here"
        return made

    def _sort(
        self,
        ask: Ask,
        reply: Message,
        sent: Iterable[tuple[Asked, Message]],
        below: Mapping[str, Message],
        found: Found,
    ) -> None:
        """Take one reply in: a client's, or a region's."""
        name = reply.metadata.reply_to_message_id
        for one, message in sent:
            if message.metadata.message_id == name:
                self._take(ask, one, reply, found)
        for region, message in below.items():
            if message.metadata.message_id == name:
                try:
                    found.join(Answer.read(given(reply)))
                except PayloadError as error:
                    LOG.warning("region %s: %s", region, error)

    def _take(self, ask: Ask, one: Asked, reply: Message, found: Found) -> None:
        if reply.has_error():
            found.errors[one.client] = reply.error.reason or "no reason given"
            told = {"reason": str(Reason.CLIENT_ERROR), "bytes": 0}
            self._tell(ask, one.client, {"verdict": "refused", **told})
        elif ask.kind == "train" and ask.vouch:
            self._vouch(ask, one, reply, found)
        else:
            data = to_bytes(reply)
            if ask.kind == "train":
                self._hand_up(ask, one, reply, data)
            elif ask.kind == "query":
                self._remember(one, reply)
            found.replies[one.client] = data

    def _vouch(self, ask: Ask, one: Asked, reply: Message, found: Found) -> None:
        """Judge a reply and keep it here."""
        plan = RoundPlan.from_json(one.plan)
        note = self.holdings.take(plan, reply, receipt(self._grid, reply))
        if isinstance(note, Refusal):
            told = {"reason": str(note.reason), "detail": note.detail}
            found.vouchers[one.client] = {"refused": True, **told}
            self._tell(ask, one.client, {"verdict": "refused", **told})
            return
        found.vouchers[one.client] = note
        self._tell(ask, one.client, {"verdict": "accepted", "reason": None, **note})

    def _hand_up(self, ask: Ask, one: Asked, reply: Message, data: bytes) -> None:
        """Keep a reply that the root will judge."""
        files.write(self._kept(RoundPlan.from_json(one.plan)), data)
        told: dict[str, Any] = {"bytes": receipt(self._grid, reply).up}
        payload = read_reply(reply.content)
        if not isinstance(payload, Refusal):
            told["digest"] = digests.of_bytes(payload[0])
        self._tell(ask, one.client, {"verdict": "handed up", "reason": None, **told})

    def _remember(self, one: Asked, reply: Message) -> None:
        """How many examples a client says that it has: what its replies may weigh."""
        said = read_metrics(reply.content)
        count = None if isinstance(said, Refusal) else said.get("examples")
        if isinstance(count, int | float):
            self.holdings.enrol({one.client: int(count)})

    def _known(self, ask: Ask, found: Found) -> None:
        """Take over what was there before a question came again."""
        there = self.holdings.sealed(ask.round) if ask.vouch else {}
        for one in ask.asked:
            if one.region:
                continue
            plan = RoundPlan.from_json(one.plan)
            held = there.get(one.client)
            if held is not None and held.note["base"] == plan.base:
                found.vouchers[one.client] = held.note
            elif not ask.vouch and self._kept(plan).exists():
                found.replies[one.client] = self._kept(plan).read_bytes()

    def _enrol(self, ask: Ask) -> None:
        """Ask those who they are of whom it is not known."""
        lacking = [
            replace(one, plan="")
            for one in ask.asked
            if not one.region and one.client not in self.holdings.examples
        ]
        if lacking:
            self._forward(
                Ask("query", 0, ask.seconds * (1 - PATIENCE), tuple(lacking)), Found()
            )

    def _reduce(self, ask: Ask) -> bytes:
        """The state of all named clients' replies, as far as they are here."""
        numbers = Numbers(ask.exponents, dict(ask.shares))
        own = [one.client for one in ask.asked if not one.region]
        branch = self.holdings.summed(ask.round, own, numbers)
        for region, data in self._below(ask):
            try:
                part = unpacked(data)
                branch = part if branch is None else branches.added(branch, part)
            except PayloadError as error:
                LOG.warning("region %s: %s", region, error)
        if branch is None:
            raise PayloadError("none of these replies is here")
        self._journal.commit(
            ask.round, {"accepted": _digests(self.holdings, ask.round, own)}
        )
        return packed(branch)

    def _below(self, ask: Ask) -> Iterable[tuple[str, bytes]]:
        """Ask the regions below the same; their answers as they come."""
        messages = self._bundles(ask, Found())
        names = {one.metadata.dst_node_id: name for name, one in messages.items()}
        limit = ask.seconds * PATIENCE
        for reply in self._grid.send_and_receive(messages.values(), timeout=limit):
            try:
                yield names[reply.metadata.src_node_id], given(reply)
            except PayloadError as error:
                LOG.warning("%s", error)

    def _bundles(self, ask: Ask, found: Found) -> dict[str, Message]:
        """One message a region below, with its part of the question."""
        parts: dict[str, list[Asked]] = {}
        for one in ask.asked:
            if one.region:
                head, _, rest = one.region.partition("/")
                parts.setdefault(head, []).append(replace(one, region=rest))
        made: dict[str, Message] = {}
        for region, asked in sorted(parts.items()):
            if region not in self._nodes:
                found.errors |= {one.client: f"no region {region}" for one in asked}
                continue
            below = replace(ask, seconds=ask.seconds * PATIENCE)
            made[region] = bundle(below, asked, self._nodes[region])
        return made

    def _message(self, ask: Ask, one: Asked) -> Message:
        content = RecordDict()
        if one.plan:
            plan = RoundPlan.from_json(one.plan)
            content = plan_content(plan, [ask.blobs[name] for name in plan.travelling])
        node, kind = self._nodes[one.client], TYPES[ask.kind]
        return Message(content, node, kind, group_id=str(ask.round))

    def _kept(self, plan: RoundPlan) -> Path:
        folder = self._journal.folder / "replies" / f"round-{plan.round:04}"
        return folder / f"{stem(plan.client)}.{plan.base[:16]}.message"

    def _tell(self, ask: Ask, client: str, said: dict[str, Any]) -> None:
        if ask.kind == "train":
            self._record.add("contribution", round=ask.round, client=client, **said)


def _digests(holdings: Holdings, number: int, clients: Iterable[str]) -> dict[str, str]:
    there = holdings.sealed(number)
    return {n: there[n].note["digest"] for n in sorted(clients) if n in there}

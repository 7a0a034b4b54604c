"""Flower's grid as our rounds want it: nodes by their keys, replies as they come.

Flower's own `send_and_receive` gives nothing back until all replies are there, or the
time is up. This one sends at once and hands on one reply at a time, pulled one by one,
so that one slow institution delays nobody's seal and memory holds one reply.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping

from flwr.app import Message
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError

from ...protocols.errors import QuorumError
from ...protocols.messages import to_bytes
from ...protocols.settings import Config
from ..engine import Receipt
from ..grids import OuterGrid
from ..rosters import quorum
from .absences import Absences, away, lost
from .folders import Waits
from .pulls import Pulling

LOG = logging.getLogger("fedelta.host")
PAUSE = 0.5
"""Seconds between looks for a reply."""
LOOK = 2.0
"""Seconds between looks at who is there while replies are awaited."""
STALLED = 5.0
"""Seconds from which on one pull is of a reply that is listed and does not come."""
TRIES = 5
"""How often a message is sent that SuperLink forgets, or half of which it forgot."""


class HostGrid(OuterGrid):
    """The members of a roster on Flower's grid.

    Args:
        grid: Flower's.
        nodes: the node id that SuperLink registered for each member's key, by name.
        waits: for how long it is waited for nodes that are not there.

    Attributes:
        nodes: as given: whoever answers, these names count.
        receipts: by message id, what the message and its reply cost.
        stalled: ids of messages whose replies had begun to come when time was up.
        keeps: replies that come after their round are handed on in the next one.
        late: they are wanted now; else they wait until they are.
        patient: a round waits for those too, even if it asks nobody.
    """

    def __init__(
        self, grid: Grid, nodes: Mapping[str, int], waits: Waits | None = None
    ) -> None:
        super().__init__(grid)
        self._pulling: Pulling | None = None
        self._late: dict[str, Message] = {}
        self._there: list[tuple[Message, Message]] = []
        self.keeps = self.late = self.patient = False
        self._waits = waits or Waits()
        self._absences = Absences(self._waits.gone_seconds)
        self._again: dict[str, str] = {}  # by a repeated message's id, the first one's
        self._lost: dict[str, set[str]] = {}  # by a first one's, those forgotten
        self.nodes = dict(sorted(nodes.items()))
        self.receipts: dict[str, Receipt] = {}
        self.stalled: set[str] = set()

    def gather(self, config: Config, needed: int | None = None) -> None:
        """Wait until everybody is there, or a quorum and then nobody for a while.

        Args:
            config: the run's.
            needed: how many are a quorum; None: what the run says.

        Raises:
            QuorumError: too few came before the deadline.
        """
        limit = time.monotonic() + config.round.deadline_seconds
        if needed is None:
            needed = min(quorum(config, len(self.nodes)), len(self.nodes))
        count, since, settled = -1, time.monotonic(), self._waits.settled_seconds
        while missing := self._missing():
            now, there = time.monotonic(), len(self.nodes) - len(missing)
            if there != count:
                count, since = there, now
            if now >= limit or (there >= needed and now - since >= settled):
                break
            time.sleep(PAUSE)
        absent = f"not there: {', '.join(missing)}"
        if len(self.nodes) - len(missing) < needed:
            raise QuorumError(f"{needed} of {len(self.nodes)} are needed; {absent}")
        if missing:
            LOG.warning("going on without all; %s", absent)

    def _missing(self) -> list[str]:
        there = set(self._grid.get_node_ids())
        return [name for name, node in self.nodes.items() if node not in there]

    def get_node_ids(self) -> Iterable[int]:
        """The nodes of the members that are there, in the order of their names."""
        there = set(self._grid.get_node_ids())
        return [node for node in self.nodes.values() if node in there]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages."""
        return [name for one in messages for name in self._sent(one)]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that are there by now."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send at once; hand on each reply as it comes, until the time is up."""
        asked: dict[str, Message] = {}
        for message in messages:
            down = len(to_bytes(message))
            for name in self._sent(message):
                asked[name] = message
                self.receipts[name] = Receipt(down)
        return self._stream(asked, time.monotonic() + (timeout or float("inf")))

    def _stream(self, asked: dict[str, Message], limit: float) -> Iterator[Message]:
        began = time.monotonic()
        pulling, self._pulling = self._pulling or Pulling(self._grid, PAUSE), None
        pulling.add(asked)
        try:
            while asked or (self.late and (self._there or self._expects)):
                while self.late and self._there:
                    yield self._handed(*self._there.pop(), began)
                found = pulling.next(min(limit - time.monotonic(), LOOK))
                if found is not None and not self._missed(*found):
                    name, reply = self._again.get(found[0], found[0]), found[1]
                    if name in asked:
                        yield self._handed(asked.pop(name), reply, began)
                    elif name in self._late:
                        self._there.append((self._late.pop(name), reply))
                    continue
                if time.monotonic() >= limit:
                    self.stalled |= pulling.stalled(STALLED)
                    return
                if found is not None:
                    self._absences.note(self._again.get(found[0], found[0]))
                self._look(asked, pulling)
                self._look(self._late, pulling)
        finally:
            if self.keeps:
                self._late |= asked
                self._pulling = pulling
            else:
                pulling.stop()

    def _missed(self, name: str, reply: Message) -> bool:
        """Whether SuperLink answered in a node's place, which is to be asked again."""
        if lost(reply):
            gone = self._lost.setdefault(self._again.get(name, name), set())
            gone.add(name)
            return len(gone) < TRIES
        return away(reply)

    @property
    def awaited(self) -> set[str]:
        """Ids of messages whose replies are handed on when they come."""
        return self._late.keys() | {one.metadata.message_id for one, _ in self._there}

    @property
    def _expects(self) -> bool:
        return self.patient and bool(self._late)

    def _handed(self, message: Message, reply: Message, began: float) -> Message:
        """A reply as the node's whom we asked, whatever it says of itself."""
        name = message.metadata.message_id
        node = message.metadata.dst_node_id
        spoofed = reply.metadata.src_node_id != node and not reply.has_error()
        reply.metadata.__dict__["_src_node_id"] = node
        reply.metadata.__dict__["_reply_to_message_id"] = name
        down, seconds = self.receipts[name].down, time.monotonic() - began
        self.receipts[name] = Receipt(down, len(to_bytes(reply)), seconds, spoofed)
        return reply

    def _look(self, asked: dict[str, Message], pulling: Pulling) -> None:
        """Await nothing more of nodes that are gone; ask those again that are back."""
        try:
            there = set(self._grid.get_node_ids())
        except Exception:
            LOG.warning("could not ask who is there; asking again", exc_info=True)
            self._absences.forget()
            return
        gone, back = self._absences.look(asked, there)
        for name in gone:
            node = asked.pop(name).metadata.dst_node_id
            LOG.warning("node %d is gone; its reply is not awaited", node)
        for name in back:
            self._ask_again(name, asked[name], pulling)

    def _ask_again(self, name: str, message: Message, pulling: Pulling) -> None:
        """The same question once more: its node was away, and may have lost it."""
        node = message.metadata.dst_node_id
        LOG.warning("node %d was away, or had restarted; it is asked again", node)
        again = _anew(message)
        for one in self._sent(again):
            self._again[one] = name
            pulling.add([one] if name in self._lost.get(name, ()) else [one, name])
        self.receipts[name] = Receipt(self.receipts[name].down + len(to_bytes(again)))

    def _sent(self, message: Message) -> list[str]:
        """Send one message, anew where SuperLink died in the middle of it.

        Whoever waits knows it by its id, which is then that of what was sent at last.
        """
        sent = message
        for left in range(TRIES - 1, -1, -1):
            try:
                names = [str(name) for name in self._grid.push_messages([sent])]
            except ObjectPushError:
                if not left:
                    raise
                LOG.warning("SuperLink forgot half a message; it is sent anew")
                sent = _anew(message)
            else:
                break
        message.metadata.__dict__["_message_id"] = sent.metadata.message_id
        return names


def _anew(message: Message) -> Message:
    """The same question as a message of its own."""
    given = message.metadata
    return Message(
        message.content, given.dst_node_id, given.message_type, group_id=given.group_id
    )

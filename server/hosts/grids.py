"""Flower's grid as our rounds want it: nodes by their keys, replies as they come.

Flower's own `send_and_receive` gives nothing back until all replies are there, or the
time is up. This one sends at once and hands on one reply at a time, pulled one by one,
so that one slow institution delays nobody's seal and memory holds one reply.
"""

import logging
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from ...protocols.errors import QuorumError
from ...protocols.messages import to_bytes
from ...protocols.settings import Config
from ..engine import Receipt
from ..rosters import quorum

LOG = logging.getLogger("fedelta.host")
PAUSE = 0.5
"""Seconds between looks for a reply."""
PULLERS = 16
"""Replies that are pulled at a time."""


class HostGrid(Grid):
    """The members of a roster on Flower's grid.

    Args:
        grid: Flower's.
        nodes: the node id that SuperLink registered for each member's key, by name.

    Attributes:
        nodes: as given: whoever answers, these names count.
        receipts: by message id, what the message and its reply cost.
    """

    def __init__(self, grid: Grid, nodes: Mapping[str, int]) -> None:
        self._grid = grid
        self.nodes = dict(sorted(nodes.items()))
        self.receipts: dict[str, Receipt] = {}

    def gather(self, config: Config) -> None:
        """Wait until everybody is there, or the deadline passed with a quorum.

        Raises:
            QuorumError: too few came.
        """
        limit = time.monotonic() + config.round.deadline_seconds
        while missing := self._missing():
            if time.monotonic() >= limit:
                break
            time.sleep(PAUSE)
        needed = quorum(config, len(self.nodes))
        absent = f"not there: {', '.join(missing)}"
        if len(self.nodes) - len(missing) < needed:
            raise QuorumError(f"{needed} of {len(self.nodes)} are needed; {absent}")
        if missing:
            LOG.warning("going on without all; %s", absent)

    def _missing(self) -> list[str]:
        there = set(self._grid.get_node_ids())
        return [name for name, node in self.nodes.items() if node not in there]

    def set_run(self, run: Run) -> None:
        """Take another run's description."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """Flower's run."""
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message of this run to one node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """The nodes of the members that are there, in the order of their names."""
        there = set(self._grid.get_node_ids())
        return [node for node in self.nodes.values() if node in there]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages."""
        return self._grid.push_messages(list(messages))

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
            for name in self._grid.push_messages([message]):
                asked[str(name)] = message
                self.receipts[str(name)] = Receipt(down)
        return self._stream(asked, time.monotonic() + (timeout or float("inf")))

    def _stream(self, asked: dict[str, Message], limit: float) -> Iterator[Message]:
        began = time.monotonic()
        pulling = Pulling(self._grid, list(asked))
        try:
            while asked:
                found = pulling.next(limit - time.monotonic())
                if found is None:
                    return
                name, reply = found
                message = asked.pop(name)
                spoofed = reply.metadata.src_node_id != message.metadata.dst_node_id
                reply.metadata.__dict__["_src_node_id"] = message.metadata.dst_node_id
                self.receipts[name] = Receipt(
                    self.receipts[name].down,
                    len(to_bytes(reply)),
                    time.monotonic() - began,
                    spoofed=spoofed and not reply.has_error(),
                )
                yield reply
        finally:
            pulling.stop()


class Pulling:
    """Pulls replies, several at a time, so that one stalled upload holds up no other.

    Args:
        grid: Flower's.
        names: message ids whose replies are wanted.
    """

    def __init__(self, grid: Grid, names: Sequence[str]) -> None:
        self._grid = grid
        self._waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._found: queue.SimpleQueue[tuple[str, Message]] = queue.SimpleQueue()
        self._stopped = threading.Event()
        for name in names:
            self._waiting.put(name)
        for _ in range(min(PULLERS, len(names))):
            threading.Thread(target=self._pull, daemon=True).start()

    def next(self, seconds: float) -> tuple[str, Message] | None:
        """The next reply with the message that it answers; None: the time is up."""
        wait = None if seconds == float("inf") else max(seconds, 0.0)
        try:
            return self._found.get(timeout=wait)
        except queue.Empty:
            return None

    def stop(self) -> None:
        """Pull no more; what is being pulled is thrown away."""
        self._stopped.set()

    def _pull(self) -> None:
        while not self._stopped.is_set():
            try:
                name = self._waiting.get(timeout=PAUSE)
            except queue.Empty:
                continue
            if not self._take(name):
                self._stopped.wait(PAUSE)
                self._waiting.put(name)

    def _take(self, name: str) -> bool:
        try:
            replies = list(self._grid.pull_messages([name]))
        except Exception:
            LOG.warning("could not ask for a reply; asking again", exc_info=True)
            return False
        for reply in replies:
            if reply.metadata.reply_to_message_id == name:
                self._found.put((name, reply))
                return True
        return False

"""Flower's grid as our rounds want it: nodes known by their keys, replies as they come.

Flower's own `send_and_receive` gives nothing back until all replies are there, or the
time is up. This one sends at once and hands on one reply at a time, pulled one by one,
so that one slow institution delays nobody's seal and memory holds one reply.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from ...client.joins import keys
from ...protocols.errors import QuorumError
from ...protocols.settings import Config
from ..rosters import quorum

LOG = logging.getLogger("fedelta.host")
PAUSE = 0.5
"""Seconds between looks for a reply."""


class HostGrid(Grid):
    """The nodes of a roster on Flower's grid.

    Args:
        grid: Flower's.
        roster: names by public key (OpenSSH lines).

    Attributes:
        nodes: node ids by name, of the members that were there at the last look.
    """

    def __init__(self, grid: Grid, roster: Mapping[str, str]) -> None:
        self._grid = grid
        self._roster = {keys.public_pem(key): name for key, name in roster.items()}
        self.nodes: dict[str, int] = {}

    def gather(self, config: Config) -> None:
        """Wait until everybody is there, or the deadline passed with a quorum.

        Raises:
            QuorumError: too few came.
        """
        limit = time.monotonic() + config.round.deadline_seconds
        wanted = set(self._roster.values())
        while True:
            self.nodes = self._present()
            missing = sorted(wanted - self.nodes.keys())
            if not missing:
                return
            if time.monotonic() >= limit:
                break
            time.sleep(PAUSE)
        needed = quorum(config, len(wanted))
        absent = f"not there: {', '.join(missing)}"
        if len(self.nodes) < needed:
            raise QuorumError(f"{needed} of {len(wanted)} members are needed; {absent}")
        LOG.warning("going on without all; %s", absent)

    def _present(self) -> dict[str, int]:
        found = cast("Any", self._grid).get_nodes()
        return {
            self._roster[node.public_key]: node.node_id
            for node in sorted(found, key=lambda node: node.node_id)
            if node.public_key in self._roster
        }

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
        self.nodes = self._present() or self.nodes
        return [self.nodes[name] for name in sorted(self.nodes)]

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
        asked = {
            str(name): message
            for message in messages
            for name in self._grid.push_messages([message])
            if name
        }
        return self._stream(asked, time.monotonic() + (timeout or float("inf")))

    def _stream(self, asked: dict[str, Message], limit: float) -> Iterator[Message]:
        while asked and time.monotonic() < limit:
            came = False
            for name in list(asked):
                for reply in self._grid.pull_messages([name]):
                    if reply.metadata.reply_to_message_id != name:
                        continue
                    self._bind(reply, asked.pop(name))
                    came = True
                    yield reply
            if not came:
                time.sleep(min(PAUSE, max(limit - time.monotonic(), 0.0)))

    def _bind(self, reply: Message, message: Message) -> None:
        """Write into a reply whom we asked, whatever it says of itself."""
        reply.metadata.__dict__["_src_node_id"] = message.metadata.dst_node_id

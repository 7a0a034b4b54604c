"""Bytes of messages that carry no reply to be merged, by client and direction.

What replies of training take is in the record's contributions; this is for the rest:
the first question, evaluations (which may bring a client the newest update), and, apart
from what the federation takes, what comparisons do.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from flwr.app import Message
from flwr.serverapp import Grid

from .engine import receipt

if TYPE_CHECKING:
    from .sessions import Session

APART = "train.alone"
"""The kind that is no part of a federation: it is recorded, and not counted in."""


class Watch:
    """Counts messages and their replies as the transport had them.

    Args:
        grid: the transport.
        sent: the messages.
    """

    def __init__(self, grid: Grid, sent: Sequence[Message]) -> None:
        self._grid = grid
        self._sent = list(sent)
        self._up: dict[int, int] = {}

    def also(self, sent: Iterable[Message]) -> None:
        """Count these too."""
        self._sent += sent

    def over(self, replies: Iterable[Message]) -> Iterator[Message]:
        """Hand replies on as they come."""
        for reply in replies:
            node = reply.metadata.src_node_id
            size = receipt(self._grid, reply).up
            self._up[node] = self._up.get(node, 0) + size
            yield reply

    def tell(
        self, session: "Session", number: int, what: str, names: Mapping[int, str]
    ) -> None:
        """Record a round's traffic of one kind, and count it in.

        Args:
            session: the run.
            number: the round.
            what: the kind of message: "query", "evaluate" or `APART`.
            names: the client behind each node; others go by their node.
        """
        clients: dict[str, dict[str, int]] = {}
        for message in self._sent:
            node = message.metadata.dst_node_id
            one = clients.setdefault(names.get(node, f"node {node}"), {"down": 0})
            one["down"] += receipt(self._grid, message).down
            one["up"] = self._up.get(node, 0)
        if not clients:
            return
        if what == APART:
            session.record.add("comparison", what=what, clients=clients)
            return
        session.totals.down += sum(one["down"] for one in clients.values())
        session.totals.up += sum(one["up"] for one in clients.values())
        session.record.add("traffic", round=number, what=what, clients=clients)

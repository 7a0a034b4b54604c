"""Bytes of messages that carry no reply to be merged, by client and direction.

What replies of training take is in the record's contributions; this is for the rest
(evaluations, which may bring a client the newest update).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from flwr.app import Message
from flwr.serverapp import Grid

from .engine import receipt
from .sessions import Session


class Watch:
    """Counts messages and their replies as the transport had them.

    Args:
        grid: the transport.
        sent: the messages.
        names: the client behind each node.
    """

    def __init__(
        self, grid: Grid, sent: Sequence[Message], names: Mapping[int, str]
    ) -> None:
        self._grid = grid
        self._sent = sent
        self._names = names
        self._up: dict[str, int] = {}

    def over(self, replies: Iterable[Message]) -> Iterator[Message]:
        """Hand replies on as they come."""
        for reply in replies:
            name = self._names.get(reply.metadata.src_node_id)
            if name is not None:
                size = receipt(self._grid, reply).up
                self._up[name] = self._up.get(name, 0) + size
            yield reply

    def tell(self, session: Session, number: int, what: str) -> None:
        """Record a round's traffic of one kind, and count it in.

        Args:
            session: the run.
            number: the round.
            what: the kind of message, such as "evaluate".
        """
        clients: dict[str, dict[str, int]] = {}
        for message in self._sent:
            name = self._names.get(message.metadata.dst_node_id, "")
            down = receipt(self._grid, message).down
            clients[name] = {"down": down, "up": self._up.get(name, 0)}
        if not clients:
            return
        session.totals.down += sum(one["down"] for one in clients.values())
        session.totals.up += sum(one["up"] for one in clients.values())
        session.record.add("traffic", round=number, what=what, clients=clients)

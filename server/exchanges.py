"""Questions of a masked round to many clients, their answers, and what they cost."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from ..protocols.aborts import Abort, AbortError
from ..protocols.messages import add_parcel, read_parcel
from ..protocols.refusals import Reason, Refusal
from .engine import Receipt, receipt

KIND = "masks"
QUERY, TRAIN = f"{MessageType.QUERY}.{KIND}", f"{MessageType.TRAIN}.{KIND}"
Said = tuple[dict[str, Any], list[bytes]]
"""A step's text and its blobs."""


class Exchange:
    """One round's questions.

    Args:
        grid: reaches the clients.
        nodes: by client, its node.
        place: what every step's text says: run, round and attempt.
        deadline: seconds that a step may take.

    Attributes:
        costs: by client, bytes down and up so far.
        out: by client that left, why.
    """

    def __init__(
        self,
        grid: Grid,
        nodes: Mapping[str, int],
        place: Mapping[str, Any],
        deadline: float,
    ) -> None:
        self.costs: dict[str, Receipt] = {name: Receipt(0) for name in nodes}
        self.out: dict[str, Refusal] = {}
        self._grid, self._nodes, self._place = grid, nodes, dict(place)
        self._deadline = deadline

    def ask(
        self, names: Iterable[str], said: Mapping[str, Any], blobs: Sequence[bytes] = ()
    ) -> Iterator[tuple[str, Said]]:
        """Ask a step of some clients; those that answered, as they come."""
        sent: dict[str, Message] = {}
        for name in names:
            content = add_parcel(RecordDict(), self.text(said), blobs)
            group = str(self._place["round"])
            sent[name] = Message(content, self._nodes[name], QUERY, group_id=group)
        replies = self._grid.send_and_receive(
            list(sent.values()), timeout=self._deadline
        )
        return self.matched(sent, replies)

    def matched(
        self, sent: Mapping[str, Message], replies: Iterable[Message]
    ) -> Iterator[tuple[str, Said]]:
        """Replies by whom was asked; whoever is silent at the end is out."""
        silent = dict(sent)
        for reply in replies:
            ids = {one.metadata.message_id: name for name, one in silent.items()}
            name = ids.get(reply.metadata.reply_to_message_id)
            if name is None:
                continue
            self._count(name, silent.pop(name), reply)
            said = _read(reply)
            if isinstance(said, Refusal):
                self.out[name] = said
            else:
                yield name, said
        for name, message in silent.items():
            self._count(name, message, None)
            self.out[name] = Refusal(Reason.TIMEOUT)

    def _count(self, name: str, message: Message, reply: Message | None) -> None:
        had, up = self.costs[name], Receipt(0)
        if reply is not None:
            up = receipt(self._grid, reply)
        down = receipt(self._grid, message).down
        self.costs[name] = Receipt(
            had.down + down, had.up + up.up, had.seconds + up.seconds
        )

    def leave(self, name: str, error: Exception) -> None:
        """Count a client out."""
        reason = Reason.BAD_OBJECT
        if isinstance(error, AbortError) and error.abort == Abort.BAD_SIGNATURE:
            reason = Reason.BAD_SIGNATURE
        self.out[name] = Refusal(reason, str(error)[:200])

    def text(self, said: Mapping[str, Any]) -> str:
        """A step's text."""
        return json.dumps(self._place | dict(said))


def _read(reply: Message) -> Said | Refusal:
    if reply.has_error():
        return Refusal(Reason.CLIENT_ERROR, reply.error.reason or "no reason given")
    found = read_parcel(reply.content)
    if isinstance(found, Refusal):
        return found
    try:
        return dict(json.loads(found[0])), found[1]
    except (ValueError, TypeError):
        return Refusal(Reason.BAD_OBJECT, "a step's text is no JSON")

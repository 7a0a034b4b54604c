"""A Flower grid whose clients answered before: replies come from files, at once."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from flwr.app import Message, MessageType

from fedelta.protocols.messages import from_bytes, metrics_content
from fedelta.server.grids import LocalGrid


class Feed(LocalGrid):
    """The nodes of recorded clients.

    Args:
        folder: a serialised reply to the round's training message by client:
            ``NAME.reply``.
        told: what every client says when it is asked who it is.
        nodes: node ids by name.
    """

    def __init__(
        self,
        folder: Path,
        told: Mapping[str, float | str],
        nodes: Mapping[str, int],
    ) -> None:
        super().__init__(nodes)
        self._folder = folder
        self._told = told
        self._names = {node: name for name, node in nodes.items()}
        self._sent: dict[str, Message] = {}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Take messages, and give them ids."""
        sent = {self.numbered(message): message for message in messages}
        self._sent |= sent
        return list(sent)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Read the replies, as they would come from a network."""
        return [self._reply(self._sent[name]) for name in message_ids]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Nobody asks for this: our grid pushes and pulls."""
        raise NotImplementedError

    def _reply(self, message: Message) -> Message:
        name = self._names[message.metadata.dst_node_id]
        if message.metadata.message_type != MessageType.TRAIN:
            content = metrics_content({"client": name, **self._told})
            return Message(content, reply_to=message)
        reply = from_bytes((self._folder / f"{name}.reply").read_bytes())
        reply.metadata.__dict__["_reply_to_message_id"] = message.metadata.message_id
        return reply

"""A Flower grid whose clients answered before: replies come from files, at once."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedelta.protocols.messages import from_bytes, identify, metrics_content


class Feed(Grid):
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
        self._folder = folder
        self._told = told
        self._names = {node: name for name, node in nodes.items()}
        self._run = Run.create_empty(1)
        self._sent: dict[str, Message] = {}
        identify(1, 1)

    def set_run(self, run: Run) -> None:
        """Take another run's description."""
        self._run = run

    @property
    def run(self) -> Run:
        """Flower's run."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message to one node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """All of them, always."""
        return list(self._names)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Take messages, and give them ids."""
        names = []
        for message in messages:
            name = f"message-{len(self._sent)}"
            message.metadata.__dict__["_message_id"] = name
            self._sent[name] = message
            names.append(name)
        return names

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

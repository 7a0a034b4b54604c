"""A reply that is listed and does not come holds up nobody, and is told by its name."""

import threading
from collections.abc import Iterable

import pytest
from flwr.app import Message, RecordDict
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError

from fedelta.protocols.refusals import Reason
from fedelta.server.arrivals import silence
from fedelta.server.engine import receipt
from fedelta.server.grids import LocalGrid
from fedelta.server.hosts import grids
from fedelta.server.hosts.grids import HostGrid


class Dripping(LocalGrid):
    """A transport on which one node's reply is listed and its bytes do not end."""

    def __init__(self, node: int) -> None:
        super().__init__({"a": 2, "b": 3, "c": 4})
        self.node = node
        self.ended = threading.Event()
        self.sent: dict[str, Message] = {}

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Every message has an id."""
        sent = {self.numbered(message): message for message in messages}
        self.sent |= sent
        return list(sent)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Node 2 answers, node 4 has not yet, `node` never ends."""
        (name,) = message_ids
        message = self.sent[name]
        if message.metadata.dst_node_id == self.node:
            self.ended.wait(60)
            return []
        if message.metadata.dst_node_id == self.nodes["c"]:
            return []
        return [Message(RecordDict(), reply_to=message)]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Nobody asks for this: our grid pushes and pulls."""
        raise NotImplementedError


def test_a_stalled_upload_is_told_from_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grids, "STALLED", 0.5)
    monkeypatch.setattr(grids, "PAUSE", 0.05)
    inner = Dripping(3)
    host = HostGrid(inner, inner.nodes)
    asked = [
        Message(RecordDict(), node, "train", group_id="1")
        for node in inner.nodes.values()
    ]
    try:
        replies = list(host.send_and_receive(asked, timeout=1.5))
    finally:
        inner.ended.set()
    assert [one.metadata.src_node_id for one in replies] == [2]
    why = [silence(host, message).reason for message in asked[1:]]
    assert why == [Reason.UPLOAD_STALLED, Reason.TIMEOUT]


class Forgetful(Dripping):
    """A transport that dies so many times in the middle of a message."""

    def __init__(self, deaths: int) -> None:
        super().__init__(0)
        self.deaths = deaths

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Take the messages, or lose them."""
        given = super().push_messages(messages)
        if self.deaths:
            self.deaths -= 1
            raise ObjectPushError("0" * 64, 1, "before it died")
        return given


def test_a_message_that_superlink_forgot_is_sent_anew() -> None:
    inner = Forgetful(grids.TRIES - 1)
    host = HostGrid(inner, inner.nodes)
    asked = Message(RecordDict(), 2, "train", group_id="1")
    (reply,) = host.send_and_receive([asked])
    assert reply.metadata.src_node_id == 2
    assert reply.metadata.reply_to_message_id == asked.metadata.message_id
    assert receipt(host, asked).down > 0
    assert len(inner.sent) == grids.TRIES
    with pytest.raises(ObjectPushError):
        HostGrid(Forgetful(grids.TRIES), inner.nodes).push_messages(
            [Message(RecordDict(), 2, "train", group_id="1")]
        )

"""Nodes that are away: asked again once they are back, given up after a while."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from flwr.app import Error, Message, RecordDict

from fedelta.protocols.errors import QuorumError
from fedelta.server.engine import receipt
from fedelta.server.grids import LocalGrid
from fedelta.server.hosts import grids
from fedelta.server.hosts.absences import MESSAGE_UNAVAILABLE, NODE_UNAVAILABLE
from fedelta.server.hosts.folders import Waits
from fedelta.server.hosts.grids import HostGrid
from tests import tiny

WAITS = Waits(settled_seconds=0.3, gone_seconds=0.6)


class Weather(LocalGrid):
    """SuperLink, as it is with nodes that come and go.

    A node that is away answers nothing, and SuperLink says so in its place; what it was
    asked before is lost, as when its process was killed.
    """

    def __init__(self, away: dict[str, int]) -> None:
        super().__init__({"ada": 2, "bob": 3, "cleo": 4})
        self.away = {self.nodes[name]: looks for name, looks in away.items()}
        self.sent: dict[str, Message] = {}
        self.lost: set[str] = set()

    def get_node_ids(self) -> Iterable[int]:
        """Who is there; every look brings those that are away nearer."""
        self.away = {node: n - 1 for node, n in self.away.items() if n > 1}
        return [node for node in self.nodes.values() if node not in self.away]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """A message to who is away is lost."""
        sent = {self.numbered(one): one for one in messages}
        self.sent |= sent
        self.lost |= {
            name for name, one in sent.items() if one.metadata.dst_node_id in self.away
        }
        return list(sent)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """An answer, or SuperLink's word that nobody is there."""
        (name,) = message_ids
        message = self.sent[name]
        if message.metadata.dst_node_id in self.away:
            error = Error(NODE_UNAVAILABLE, "no heartbeat")
            reply = Message(error, reply_to=message)
            reply.metadata.__dict__["_src_node_id"] = 1
            return [reply]
        return [] if name in self.lost else [Message(RecordDict(), reply_to=message)]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Nobody asks for this: our grid pushes and pulls."""
        raise NotImplementedError


class Forgetful(Weather):
    """SuperLink, which forgets what it holds for a node that registers anew."""

    def __init__(self, times: dict[str, int]) -> None:
        super().__init__({})
        self.times = {self.nodes[name]: count for name, count in times.items()}
        self.asked: dict[str, int] = {}

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """The first ones to some nodes will be forgotten."""
        sent = {self.numbered(one): one for one in messages}
        self.sent |= sent
        for name, one in sent.items():
            node = one.metadata.dst_node_id
            if self.times.get(node, 0) > 0:
                self.times[node] -= 1
                self.lost.add(name)
        return list(sent)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """An answer, or SuperLink's word that there is no such message."""
        (name,) = message_ids
        self.asked[name] = self.asked.get(name, 0) + 1
        if name not in self.lost:
            return [Message(RecordDict(), reply_to=self.sent[name])]
        error = Error(MESSAGE_UNAVAILABLE, "not in the database")
        reply = Message(error, reply_to=self.sent[name])
        reply.metadata.__dict__["_src_node_id"] = 1
        return [reply]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look more often."""
    monkeypatch.setattr(grids, "LOOK", 0.1)
    monkeypatch.setattr(grids, "PAUSE", 0.02)


def asked(inner: Weather) -> list[Message]:
    return [Message(RecordDict(), node, "train") for node in inner.nodes.values()]


def test_who_was_away_is_asked_again() -> None:
    """Its answer to the second question is one to the first."""
    inner = Weather({"bob": 3})
    host = HostGrid(inner, inner.nodes, WAITS)
    sent = asked(inner)
    replies = list(host.send_and_receive(sent, timeout=20))
    assert {one.metadata.reply_to_message_id for one in replies} == {
        one.metadata.message_id for one in sent
    }
    assert {one.metadata.src_node_id for one in replies} == {2, 3, 4}
    assert not any(one.has_error() for one in replies)
    assert len(inner.sent) == 4
    down = [receipt(host, one).down for one in sent]
    assert down[1] > 1.9 * down[0], "what was sent twice counts twice"


def test_whose_question_was_forgotten_is_asked_again() -> None:
    """As often as it takes, within reason; nobody asks for what is forgotten."""
    inner = Forgetful({"ada": 1, "bob": 2})
    host = HostGrid(inner, inner.nodes, WAITS)
    sent = asked(inner)
    replies = list(host.send_and_receive(sent, timeout=20))
    assert {one.metadata.src_node_id for one in replies} == {2, 3, 4}
    assert not any(one.has_error() for one in replies)
    assert {one.metadata.reply_to_message_id for one in replies} == {
        one.metadata.message_id for one in sent
    }
    assert len(inner.sent) == 6
    assert max(inner.asked[name] for name in inner.lost) == 1


def test_a_node_whose_questions_are_always_forgotten_is_one_that_failed() -> None:
    inner = Forgetful({"bob": 10**6})
    host = HostGrid(inner, inner.nodes, WAITS)
    replies = list(host.send_and_receive(asked(inner), timeout=3600))
    failed = [one.metadata.src_node_id for one in replies if one.has_error()]
    assert failed == [3]
    assert len(inner.sent) == 2 + grids.TRIES


def test_who_stays_away_is_given_up() -> None:
    """Long before the time is up, and without a word in its place."""
    inner = Weather({"bob": 10**6})
    host = HostGrid(inner, inner.nodes, WAITS)
    replies = list(host.send_and_receive(asked(inner), timeout=3600))
    assert {one.metadata.src_node_id for one in replies} == {2, 4}
    assert len(inner.sent) == 3


def test_a_run_begins_without_those_who_do_not_come(tmp_path: Path) -> None:
    """Once a quorum is there and nobody else came for a while."""
    made = tiny.config(tmp_path, round={"deadline_seconds": 3600.0, "quorum": 0.5})
    inner = Weather({"bob": 10**6})
    HostGrid(inner, inner.nodes, WAITS).gather(made)
    late = Weather({"bob": 3, "cleo": 10**6})
    HostGrid(late, late.nodes, WAITS).gather(made)
    assert inner.nodes["bob"] in inner.away
    assert late.nodes["bob"] not in late.away


def test_without_a_quorum_none_begins(tmp_path: Path) -> None:
    made = tiny.config(tmp_path, round={"deadline_seconds": 1.0, "quorum": 0.5})
    inner = Weather({"bob": 10**6, "cleo": 10**6})
    with pytest.raises(QuorumError, match="2 of 3 are needed; not there: bob, cleo"):
        HostGrid(inner, inner.nodes, WAITS).gather(made)

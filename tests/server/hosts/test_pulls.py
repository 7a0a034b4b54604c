"""Replies are pulled side by side, and never more than can be looked at."""

import threading
import time
from collections.abc import Iterable
from typing import Any

import pytest
from flwr.app import Message, RecordDict

from fedelta.protocols.messages import identify
from fedelta.server.hosts.pulls import AHEAD, PULLERS, ROOM, Pulling


class Instant:
    """Every reply is there at once; counts how many were taken."""

    def __init__(self) -> None:
        self.taken = 0
        self._lock = threading.Lock()

    def pull_messages(self, names: Iterable[str]) -> list[Message]:
        """One reply."""
        (name,) = names
        with self._lock:
            self.taken += 1
        reply = Message(RecordDict(), 2, "train")
        reply.metadata.__dict__["_reply_to_message_id"] = name
        return [reply]


@pytest.fixture
def grid() -> Any:
    identify(1, 1)
    return Instant()


def test_what_nobody_looks_at_is_not_pulled(grid: Any) -> None:
    pulling = Pulling(grid, 0.05)
    pulling.add(str(at) for at in range(64))
    limit = time.monotonic() + 20
    while grid.taken < AHEAD + ROOM and time.monotonic() < limit:
        time.sleep(0.01)
    time.sleep(0.3)
    assert grid.taken == AHEAD + ROOM
    found = {pulling.next(20.0) for _ in range(64)}
    assert {one[0] for one in found if one} == {str(at) for at in range(64)}
    pulling.stop()


def test_nobody_waits_behind_a_round_that_is_over(grid: Any) -> None:
    before = threading.active_count()
    pulling = Pulling(grid, 0.05)
    pulling.add(str(at) for at in range(64))
    assert pulling.next(20.0)
    pulling.stop()
    limit = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < limit:
        time.sleep(0.02)
    assert threading.active_count() <= before


class Stalling(Instant):
    """The first replies never come to an end."""

    def __init__(self) -> None:
        super().__init__()
        self.end = threading.Event()

    def pull_messages(self, names: Iterable[str]) -> list[Message]:
        """One reply, or none for long."""
        (name,) = names
        if int(name) < PULLERS - 1:
            self.end.wait(60)
        return super().pull_messages([name])


def test_those_that_stall_keep_nobody_waiting() -> None:
    identify(1, 1)
    grid: Any = Stalling()
    pulling = Pulling(grid, 0.05)
    pulling.add(str(at) for at in range(PULLERS + 8))
    found = {pulling.next(30.0) for _ in range(9)}
    assert {one[0] for one in found if one} == {
        str(at) for at in range(PULLERS - 1, PULLERS + 8)
    }
    pulling.stop()
    grid.end.set()

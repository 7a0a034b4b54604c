"""The in-process engine with a trivial real client app."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.app import Message, MessageType

from fedelta.protocols.messages import metrics_content, read_metrics, to_bytes
from fedelta.server.engine import InProcessGrid, receipt
from tests.server.apps import app

ROOT = str(Path(__file__).parents[2])
SCRIPT = f"""
import sys

sys.path.insert(0, {ROOT!r})
from fedelta.client.worker import main
from tests.server.apps import app

main(app)
"""
COMMAND = (sys.executable, "-c", SCRIPT)
NAMES = ("ada", "bea", "cyd")


@pytest.fixture(params=[0, 2])
def grid(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[InProcessGrid]:
    states = {name: tmp_path / name for name in NAMES}
    with InProcessGrid(
        states, {}, workers=request.param, command=COMMAND, app=app
    ) as made:
        yield made


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[InProcessGrid]:
    states = {name: tmp_path / name for name in NAMES}
    with InProcessGrid(
        states, {}, workers=2, command=COMMAND, logs=tmp_path / "logs"
    ) as made:
        yield made


def ask(grid: InProcessGrid, **what: str) -> list[Message]:
    return [
        Message(metrics_content({"do": do}), grid.nodes[name], MessageType.TRAIN)
        for name, do in what.items()
    ]


def names(grid: InProcessGrid, replies: list[Message]) -> dict[str, Message]:
    nodes = {node: name for name, node in grid.nodes.items()}
    return {nodes[reply.metadata.src_node_id]: reply for reply in replies}


def test_every_node_is_reached_under_its_own_name(grid: InProcessGrid) -> None:
    messages = ask(grid, ada="echo", bea="echo", cyd="echo")
    replies = names(grid, list(grid.send_and_receive(messages)))
    assert sorted(replies) == list(NAMES)
    for name, reply in replies.items():
        said = read_metrics(reply.content)
        assert isinstance(said, dict)
        assert said["client"] == name


def test_bytes_are_those_of_the_serialised_messages(grid: InProcessGrid) -> None:
    (message,) = ask(grid, ada="echo")
    (reply,) = grid.send_and_receive([message])
    cost = receipt(grid, reply)
    assert cost.down == len(to_bytes(message))
    assert abs(cost.up - len(to_bytes(reply))) < 8  # ids are bound after the count
    assert not cost.spoofed


def test_a_client_that_raises_is_an_error_reply_without_quotes(
    grid: InProcessGrid,
) -> None:
    replies = list(grid.send_and_receive(ask(grid, ada="raise", bea="echo")))
    found = names(grid, replies)
    assert found["ada"].has_error()
    assert "secret" not in str(found["ada"].error.reason)
    assert found["bea"].has_content()


def test_who_answers_is_who_was_asked(grid: InProcessGrid) -> None:
    (message,) = ask(grid, bea="spoof")
    (reply,) = grid.send_and_receive([message])
    assert reply.metadata.src_node_id == grid.nodes["bea"]
    assert reply.metadata.reply_to_message_id == message.metadata.message_id
    assert receipt(grid, reply).spoofed


def test_a_dead_worker_is_an_error_reply_and_is_replaced(pool: InProcessGrid) -> None:
    for _ in range(3):
        messages = ask(pool, ada="die", bea="die", cyd="echo")
        found = names(pool, list(pool.send_and_receive(messages)))
        assert found["ada"].has_error()
        assert "worker ended" in str(found["ada"].error.reason)
        assert found["cyd"].has_content()


def test_replies_are_handed_on_as_they_come(pool: InProcessGrid) -> None:
    messages = ask(pool, ada="sleep3", bea="echo", cyd="echo")
    order = list(names(pool, list(pool.send_and_receive(messages))))
    assert order[-1] == "ada"


def test_a_deadline_ends_the_wait_and_frees_the_worker(pool: InProcessGrid) -> None:
    list(pool.send_and_receive(ask(pool, ada="echo", bea="echo")))  # both are up
    began = time.monotonic()
    messages = ask(pool, ada="sleep60", bea="echo")
    found = names(pool, list(pool.send_and_receive(messages, timeout=2.0)))
    assert time.monotonic() - began < 10
    assert "bea" in found
    assert "ada" not in found or found["ada"].has_error()
    again = list(pool.send_and_receive(ask(pool, ada="echo", bea="echo", cyd="echo")))
    assert len(again) == 3
    assert all(reply.has_content() for reply in again)


def test_messages_are_pushed_before_replies_are_read(pool: InProcessGrid) -> None:
    stream = pool.send_and_receive(ask(pool, ada="echo"))
    deadline = time.monotonic() + 30
    while pool._replies.empty() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not pool._replies.empty()
    assert len(list(stream)) == 1


def test_push_and_pull(grid: InProcessGrid) -> None:
    ids = list(grid.push_messages(ask(grid, ada="echo", bea="echo")))
    found: list[Message] = []
    deadline = time.monotonic() + 30
    while len(found) < 2 and time.monotonic() < deadline:
        found += grid.pull_messages(ids)
        time.sleep(0.02)
    assert {m.metadata.reply_to_message_id for m in found} == set(ids)


def test_nothing_asked_nothing_comes(grid: InProcessGrid) -> None:
    assert list(grid.send_and_receive([])) == []

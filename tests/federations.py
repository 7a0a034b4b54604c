"""Federations on the tiny model whose clients may misbehave, in this process."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedelta.client.app import app as honest
from fedelta.client.data import load
from fedelta.protocols.messages import read_plan, read_reply, reply_content
from fedelta.protocols.refusals import Refusal
from fedelta.protocols.settings import Config
from fedelta.server import files, records
from fedelta.server.coordination import coordinate
from fedelta.server.engine import InProcessGrid
from fedelta.server.journal import Journal
from fedelta.server.runs import config_json

Trick = Callable[[Message], Message]


def tricked(tricks: Mapping[tuple[str, int], Trick]) -> ClientApp:
    """Our client app, but what (client, round) replies goes through a trick first."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        plan, _ = read_plan(message.content)
        reply = honest(message, context)
        trick = tricks.get((str(context.node_config["client"]), plan.round))
        return trick(reply) if trick else reply

    @app.train("alone")
    def alone(message: Message, context: Context) -> Message:
        return honest(message, context)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return honest(message, context)

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return honest(message, context)

    return app


def forged(change: Callable[[bytes], bytes]) -> Trick:
    """A trick that changes the payload's bytes."""

    def trick(reply: Message) -> Message:
        said = read_reply(reply.content)
        assert not isinstance(said, Refusal), said
        data, metrics = said
        reply.content = reply_content(change(data), metrics)
        return reply

    return trick


def silent(reply: Message) -> Message:
    """A client that sends nothing of use."""
    raise RuntimeError("gone")


def federate(
    config: Config,
    tricks: Mapping[tuple[str, int], Trick] | None = None,
    engine: type[InProcessGrid] = InProcessGrid,
) -> dict[str, Any]:
    """Run a federation in this process, as `simulate` does; its summary."""
    folder = Path(config.run.out)
    journal = Journal(folder, config.journal.keep)
    journal.hold()
    files.write_json(folder / "config.json", asdict(config))
    states = {name: folder / "clients" / name for name in load(config).clients}
    given = {"config": config_json(config)}
    try:
        with engine(states, given, workers=0, app=tricked(tricks or {})) as grid:
            return coordinate(grid, config, journal)
    finally:
        journal.release()


def lines(config: Config, kind: str) -> list[records.Line]:
    """The lines of one kind in a run's record."""
    path = Path(config.run.out) / "record.jsonl"
    return [line for line in records.read(path) if line["kind"] == kind]

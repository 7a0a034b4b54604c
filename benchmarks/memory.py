"""How much memory a server takes to receive and merge many large replies.

Each number of clients is a process of its own: a hosted run's server (`HostGrid`,
`coordinate`) takes one round of replies of a 10 MB payload each, as fast as it can read
them, seals them and merges them by TIES, untrimmed. The most that it holds of its own
(what the kernel could not drop and read again from files), over what it held as the
round began, every 5 ms. ``--clients 4 16 64`` chooses how many.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedelta.benchmarks.encoders import LABELS, encoder, run_file, texts
from fedelta.benchmarks.feeds import Feed
from fedelta.client import sending
from fedelta.client.models import Base, load_base
from fedelta.protocols import seeds
from fedelta.protocols.messages import (
    metrics_content,
    read_plan,
    reply_content,
    to_bytes,
)
from fedelta.protocols.settings import Client, Config
from fedelta.server.coordination import coordinate
from fedelta.server.engine import InProcessGrid
from fedelta.server.holders import memory
from fedelta.server.hosts.grids import HostGrid
from fedelta.server.hosts.services import FRUGAL
from fedelta.server.journal import Journal
from fedelta.server.records import Line
from fedelta.server.runs import config_json, load

HIDDEN, LAYERS = 256, 4
LIMIT = 300e6
"""What a server may take over its start, in bytes, however many the clients are."""
TABLES = """
[run]
name = "memory"
rounds = 1
[train]
mode = "full"
[wire]
up = "fp32"
down = "fp32"
feedback = false
[merge]
recipe = "ties(density=1.0)"
[eval]
local = false
"""


def configured(folder: Path, count: int, out: str) -> Config:
    """The run of so many clients."""
    config = load(folder / "run.toml", overrides=[f"run.out={folder / out}"])
    names = [Client(f"client-{at:02d}") for at in range(count)]
    return replace(config, clients=tuple(names))


def told(base: Base, config: Config) -> dict[str, float | str]:
    """What every client says of itself."""
    layout = base.layout(config)
    return {"examples": 8.0, "layout": layout.fingerprint, "base": base.digest}


def answered(folder: Path, count: int) -> None:
    """Have clients reply once, with keyed normal numbers, and keep what they sent."""
    config = configured(folder, count, "before")
    base = load_base(config, LABELS)
    app, layout = ClientApp(), base.layout(config)

    @app.query()
    def query(message: Message, context: Context) -> Message:
        said = {"client": str(context.node_config["client"]), **told(base, config)}
        return Message(metrics_content(said), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:  # noqa: ARG001  Flower's
        plan, _ = read_plan(message.content)
        key = seeds.key("memory", plan.client)
        numbers = (1e-3 * seeds.normal(key, 0, layout.size)).astype(np.float32)
        parts = np.split(numbers, np.cumsum(layout.sizes)[:-1])
        change = {
            name: part.reshape(shape)
            for name, shape, part in zip(
                layout.names, layout.shapes, parts, strict=True
            )
        }
        sent = sending.reply(change, plan, config, folder, base.digest, 8)
        reply = Message(reply_content(sent.data, {"loss": 1.0}), reply_to=message)
        (folder / f"{plan.client}.reply").write_bytes(to_bytes(reply))
        return reply

    states = {one.name: folder / one.name for one in config.clients}
    given = {"config": config_json(config)}
    journal = Journal(folder / "before")
    journal.hold()
    with InProcessGrid(states, given, workers=0, app=app) as grid:
        coordinate(grid, config, journal)


def one(folder: Path, count: int) -> dict[str, float]:
    """Run a hosted server in this process; bytes at its round's start and peak."""
    config = configured(folder, count, "run")
    base = load_base(config, LABELS)
    journal = Journal(folder / "run")
    journal.hold()
    held: dict[str, float] = {}
    came: list[int] = []

    def begun(line: Line) -> None:
        if line["kind"] == "asked":
            held["start"] = held["receiving"] = memory(os.getpid())["own"]
            threading.Thread(target=sample, daemon=True).start()
        elif line["kind"] == "contribution":
            came.append(line["bytes"])
        elif line["kind"] == "round":
            held["payload"] = sum(came) / len(came)

    def sample() -> None:
        while "payload" not in held:
            phase = "receiving" if len(came) < count else "merging"
            held[phase] = max(held.get(phase, 0), memory(os.getpid())["own"])
            time.sleep(0.005)

    nodes = {client.name: 2 + at for at, client in enumerate(config.clients)}
    feed = Feed(folder, told(base, config), nodes)
    coordinate(HostGrid(feed, nodes), config, journal, [begun])
    return held


def main() -> int:
    """Print the table; 0 if memory stays within its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.answer:
        answered(asked.answer, asked.clients[0])
        return 0
    if asked.one:
        print(json.dumps(one(asked.one, asked.clients[0])))
        return 0
    over = []
    print("| clients | payload each | as the round began | receiving | merging |")
    print("|---|---|---|---|---|", flush=True)
    for count in asked.clients:
        with tempfile.TemporaryDirectory(prefix="memory-") as name:
            folder = Path(name)
            model = encoder(folder, HIDDEN, LAYERS)
            run_file(folder / "run.toml", model, texts(folder, "test", 8), TABLES)
            words = (sys.executable, __file__, "--clients", str(count))
            subprocess.run([*words, "--answer", name], check=True)
            done = subprocess.run(
                [*words, "--one", name],
                env={**os.environ, **FRUGAL},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        held = json.loads(done.stdout.splitlines()[-1])
        phases = [held[name] - held["start"] for name in ("receiving", "merging")]
        over.append(max(phases))
        print(
            f"| {count} | {held['payload'] / 1e6:.1f} MB | {held['start'] / 1e6:.0f} MB"
            f" | {phases[0] / 1e6:.0f} MB | {phases[1] / 1e6:.0f} MB |",
            flush=True,
        )
    right = max(over) <= LIMIT
    print(f"{'within' if right else 'NOT WITHIN'} {LIMIT / 1e6:.0f} MB of its start")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())

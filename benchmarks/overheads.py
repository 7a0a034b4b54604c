"""What a round costs beyond training, beside the bare Flower example's.

The same encoder, adapter, texts, steps and number of clients on one machine: first
Flower's SuperLink and SuperNodes with the app of `benchmarks/bare.py` (no TLS, no
keys, no proxy), then `fedelta host` and `fedelta join` with all three. A round is what
the server waits for and does, evaluations left out; training is the bare client's loop.
The first round, in which whoever comes first reads the disk, is left out too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from fedelta.benchmarks.encoders import LABELS, run_file, texts
from fedelta.client.joins import layouts as institutions
from fedelta.client.joins.processes import end_group
from fedelta.client.joins.runtimes import QUIET, answers, program
from fedelta.client.loading import place
from fedelta.protocols.settings import Model
from fedelta.server.hosts import admissions
from fedelta.server.hosts.layouts import Ports, create

NAMES = ("hospital-a", "hospital-b")
STEPS, BATCH, LENGTH, RANK = 8, 16, 32, 8
LIMIT = 1.1
FEDELTA = (sys.executable, "-m", "fedelta.server.cli")
BUNDLE = """
[project]
name = "bare"
version = "1.0.0"
dependencies = []
[tool.flwr.app]
publisher = "bare"
fab-include = ["README.md"]
[tool.flwr.app.components]
serverapp = "fedelta.benchmarks.bare:server"
clientapp = "fedelta.benchmarks.bare:client"
[tool.flwr.app.config]
"""


class Processes:
    """Commands in the background, ended together."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root = root
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {"OMP_NUM_THREADS": "1", "PATH": path}
        self.environment = {**os.environ, **own, **environment}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *words: str) -> None:
        """Run one."""
        with (self.root / f"{name}.out").open("wb") as out:
            self.running[name] = subprocess.Popen(
                words,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self.environment,
            )

    def said(self, name: str) -> str:
        """What one has printed."""
        return (self.root / f"{name}.out").read_text("utf-8", "replace")

    def until(self, true: Callable[[], bool], what: str, seconds: float = 240) -> None:
        """Wait for something; a process that failed ends the waiting.

        Raises:
            TimeoutError: it does not come.
            ChildProcessError: a process failed.
        """
        limit = time.monotonic() + seconds
        while not true():
            for name, one in self.running.items():
                if one.poll():
                    raise ChildProcessError(f"{name}: {self.said(name)[-2000:]}")
            if time.monotonic() > limit:
                raise TimeoutError(what)
            time.sleep(0.2)

    def end(self) -> None:
        """End all."""
        for one in reversed(self.running.values()):
            end_group(one, grace=20)


def bare(root: Path, model: str, rounds: int, ports: Sequence[int]) -> list[Any]:
    """Each round of the bare example: its seconds, and those of training."""
    app, home, out = root / "app", root / "flower", root / "rounds.jsonl"
    app.mkdir(parents=True)
    home.mkdir()
    given = {
        "model": model, "labels": json.dumps(LABELS), "rank": RANK, "rate": 3e-3,
        "steps": STEPS, "batch": BATCH, "length": LENGTH, "rounds": rounds,
        "out": str(out),
    }  # fmt: skip
    keys = "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())
    (app / "pyproject.toml").write_text(BUNDLE + keys)
    (app / "README.md").write_text("bare\n")
    server = f"127.0.0.1:{ports[0]}"
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "bare"\n[superlink.bare]\naddress = "{server}"\n'
        "insecure = true\n"
    )
    processes = Processes(root, QUIET | {"FLWR_HOME": str(home)})
    try:
        link = (program("flower-superlink"), "--insecure", "--host", "127.0.0.1")
        processes.start("superlink", *link, "--port", str(ports[0]))
        processes.until(lambda: answers("127.0.0.1", ports[0]), "SuperLink")
        for port, name in zip(ports[1:], NAMES, strict=False):
            data = json.dumps(str(root.parent / f"{name}.jsonl"))
            processes.start(
                name, program("flower-supernode"), "--insecure",
                "--superlink", server, "--port", str(port),
                "--node-config", f"data={data}",
            )  # fmt: skip
        processes.start("run", program("flwr"), "run", str(app), "bare")
        processes.until(lambda: _count(out) >= rounds, "the bare rounds")
    finally:
        processes.end()
    return [json.loads(line) for line in out.read_text().splitlines()]


def ours(root: Path, model: str, rounds: int, ports: Sequence[int]) -> list[Any]:
    """Each round of ours: what it waited for clients, and the merge."""
    root.mkdir()
    hosted = create(
        root / "host",
        "overheads",
        ["127.0.0.1"],
        Ports(ports[0], ports[1], ports[2], 0),
    )
    for name in NAMES:
        folder = institutions.create(
            root / name, name, str(root.parent / f"{name}.jsonl")
        )
        institutions.accept(folder, admissions.admit(hosted, folder.public, name))
    tables = (
        f'[run]\nname = "overheads"\nrounds = {rounds}\nout = "overheads"\n'
        f"[train]\nsteps = {STEPS}\nbatch = {BATCH}\nmax_length = {LENGTH}\n"
        f'[lora]\nrank = {RANK}\ntargets = ["query", "value"]\n'
        "[round]\ndeadline_seconds = 200\n"
    )
    test = texts(root, "test", 8)
    config = run_file(root / "run.toml", Path(model), test, tables)
    processes = Processes(root, {})
    out = hosted.runs / "overheads"
    try:
        processes.start("host", *FEDELTA, "host", "up", str(hosted.root))
        processes.until(lambda: "nodes may join" in processes.said("host"), "the host")
        for name in NAMES:
            processes.start(name, *FEDELTA, "join", "up", str(root / name))
        words = ("host", "run", str(config), "--dir", str(hosted.root))
        processes.start("run", *FEDELTA, *words)
        processes.until((out / "summary.json").exists, "our rounds")
    finally:
        processes.end()
    lines = [json.loads(one) for one in (out / "record.jsonl").read_text().splitlines()]
    return [
        {"round": line["phases"]["clients"] + line["phases"]["merge"]}
        for line in lines
        if line["kind"] == "round"
    ]


def _count(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses now."""
    import socket

    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return found


def main() -> int:
    """Print the table; 0 if ours is at most so many times the bare one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="overheads-") as name:
        root, model = Path(name), place(Model(id="minilm"))
        for one in NAMES:
            texts(root, one, 200)
        theirs = bare(root / "bare", model, rounds, ports(3))[1:]
        own = ours(root / "ours", model, rounds, ports(3))[1:]
    training = median(one["training"] for one in theirs)
    print("| | round | training | beyond it |")
    print("|---|---|---|---|")
    beyond = []
    for what, found in (("bare Flower", theirs), ("fedelta", own)):
        took = median(one["round"] for one in found)
        beyond.append(took - training)
        print(f"| {what} | {took:.1f} s | {training:.1f} s | {beyond[-1]:.1f} s |")
    ratio = beyond[1] / beyond[0]
    print(f"beyond training ours takes {ratio:.2f} times what bare Flower does")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())

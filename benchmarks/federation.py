"""``make federation``: a coordinator and four institutions, each on its own network.

TLS, registered keys, three rounds of the encoder preset. One institution is killed in
round 2 and comes back, another's line is cut for a while, a third's is slow, the server
is killed in round 3 and goes on. The model at the end must be the one that the sealed
replies give when they are merged again.
Needs root (network namespaces), nginx and iproute2.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedelta.benchmarks.encoders import LABELS, encoder, texts
from fedelta.benchmarks.networks import Network, lacking
from fedelta.benchmarks.replays import replay
from fedelta.client.data import load as load_data
from fedelta.client.joins import layouts as institutions
from fedelta.client.joins.processes import end_group
from fedelta.protocols.settings import Config, Data, Model
from fedelta.server import runs
from fedelta.server.hosts import admissions
from fedelta.server.hosts.layouts import Ports, create

NAMES = ("hospital-a", "hospital-b", "hospital-c", "hospital-d")
FEDELTA = (sys.executable, "-m", "fedelta.server.cli")
SLOW, CUT, VICTIM = "hospital-b", "hospital-c", "hospital-d"
CUT_SECONDS = 5.0


class Stage:
    """A federation's folders and processes."""

    def __init__(self, root: Path, network: Network) -> None:
        self.root = root
        self.network = network
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.killed: set[str] = set()
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        """A line with the time."""
        print(f"[{time.monotonic() - self.began:6.1f} s] {text}", flush=True)

    def start(self, name: str, machine: str, *words: str) -> None:
        """Run a fedelta command on a machine, in the background."""
        with (self.root / f"{name}.out").open("ab") as out:
            self.running[name] = subprocess.Popen(
                [*self.network.inside(machine), *FEDELTA, *words],
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def end(self) -> None:
        """End all of them."""
        for one in reversed(self.running.values()):
            end_group(one, grace=40)

    def said(self, name: str) -> str:
        """What a command has printed."""
        path = self.root / f"{name}.out"
        return path.read_text("utf-8") if path.exists() else ""

    def alive(self, what: str) -> None:
        """Go on only while all that was started lives, or ended well or by a signal.

        Raises:
            ChildProcessError: one has failed; the message has its last words.
        """
        for name, one in self.running.items():
            if (one.poll() or 0) > 0 and name not in self.killed:
                said = self.said(name)[-2000:]
                raise ChildProcessError(f"waiting for {what!r}: {name} ended\n{said}")

    def until(self, true: Callable[[], bool], what: str, seconds: float = 600) -> None:
        """Wait for something.

        Raises:
            TimeoutError: it does not come.
            ChildProcessError: what it would come from has died.
        """
        limit = time.monotonic() + seconds
        while not true():
            self.alive(what)
            if time.monotonic() > limit:
                raise TimeoutError(f"not in {seconds:g} s: {what}\n{self.said('run')}")
            time.sleep(0.2)
        self.say(what)


def settings(out: Path, *, tiny: bool) -> tuple[Config, Path]:
    """The encoder preset for four institutions, and its folder of data files."""
    if tiny:
        return _tiny(out), out
    overrides = ["data.clients=4", "data.test_examples=400", "run.rounds=3"]
    preset = runs.load(preset="icd10", overrides=overrides)
    task = load_data(preset)
    out.mkdir(parents=True)
    parts = dict(zip(NAMES, task.clients.values(), strict=True)) | {"test": task.test}
    for name, part in parts.items():
        rows = [
            json.dumps({"text": text, "label": task.labels[int(place)]})
            for text, place in zip(part.texts, part.labels, strict=True)
        ]
        (out / f"{name}.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    data = replace(
        preset.data, source="", labels=task.labels, test=str(out / "test.jsonl")
    )
    return replace(preset, data=data), out


def _tiny(out: Path) -> Config:
    """A made-up encoder and texts: the same day, in less time."""
    out.mkdir(parents=True)
    for name in (*NAMES, "test"):
        texts(out, name, 40)
    model = replace(Model(id=str(encoder(out, 32, 2))), head="linear")
    data = Data(source="", labels=LABELS, test=str(out / "test.jsonl"))
    return replace(Config(), model=model, data=data)


def write_config(config: Config, path: Path) -> None:
    """The run's file, as a coordinator writes it."""
    path.write_text(
        f'[run]\nname = "federation"\nrounds = 3\nout = "federation"\n'
        f"[model]\nid = {json.dumps(config.model.id)}\n"
        f"head = {json.dumps(config.model.head)}\n"
        f'[data]\nsource = ""\nlabels = {json.dumps(list(config.data.labels))}\n'
        f"test = {json.dumps(config.data.test)}\n"
        "[train]\nsteps = 8\nbatch = 16\nlearning_rate = 3e-3\n"
        '[lora]\nrank = 8\nalpha = 16.0\ntargets = ["query", "value"]\n'
        "[round]\ndeadline_seconds = 400\nquorum = 0.5\n",
        "utf-8",
    )


def lines(run: Path) -> list[dict[str, Any]]:
    """The record so far."""
    path = run / "record.jsonl"
    text = path.read_text("utf-8") if path.exists() else ""
    return [json.loads(one) for one in text.split("\n")[:-1]]


def seen(run: Path, kind: str, number: int) -> bool:
    """Whether a round has a line of a kind."""
    return any(one["kind"] == kind and one.get("round") == number for one in lines(run))


def sealed(run: Path, number: int) -> bool:
    """Whether a round has an accepted reply."""
    return any(
        one["kind"] == "contribution"
        and one["round"] == number
        and one["verdict"] == "accepted"
        for one in lines(run)
    )


def kill(pattern: str, folder: Path) -> int:
    """Kill -9 the processes whose command names both; how many there were."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode("utf-8", "replace")
            inside = str((path.parent / "cwd").readlink())
        except OSError:
            continue
        if pattern in words and inside.startswith(str(folder)):
            os.kill(int(path.parent.name), signal.SIGKILL)
            count += 1
    return count


def prepare(stage: Stage, *, tiny: bool) -> tuple[Path, Path]:
    """Folders, keys, admission; the host's folder and the run's file."""
    config, data = settings(stage.root / "data", tiny=tiny)
    address = stage.network.addresses["host"]
    hosted = create(stage.root / "host", "federation", [address], Ports())
    for name in NAMES:
        folder = institutions.create(
            stage.root / name, name, str(data / f"{name}.jsonl")
        )
        institutions.accept(folder, admissions.admit(hosted, folder.public, name))
    write_config(config, stage.root / "run.toml")
    return hosted.root, stage.root / "run.toml"


def play(stage: Stage, *, tiny: bool) -> Path:
    """Bring everything up, run, kill, go on; the run's folder."""
    host, config = prepare(stage, tiny=tiny)
    stage.start("host", "host", "host", "up", str(host))
    stage.until(lambda: "nodes may join" in stage.said("host"), "the coordinator is up")
    for name in NAMES:
        stage.start(name, name, "join", "up", str(stage.root / name))
    stage.say(f"the line of {SLOW}: {stage.network.slow(SLOW)}")
    out = host / "runs" / "federation"
    words = ("host", "run", str(config), "--dir", str(host))
    stage.start("run", "host", *words)
    stage.until(lambda: seen(out, "evaluation", 1), "round 1 is committed")
    stage.killed |= {VICTIM, "run"}
    end_group(stage.running[VICTIM], grace=0)
    stage.say(f"{VICTIM} is killed in round 2")
    stage.network.cut(CUT)
    time.sleep(CUT_SECONDS)
    stage.network.plug(CUT)
    stage.say(f"{CUT} had no line for {CUT_SECONDS:g} s")
    stage.until(lambda: seen(out, "evaluation", 2), "round 2 is committed without it")
    stage.start(VICTIM, VICTIM, "join", "up", str(stage.root / VICTIM))
    stage.until(lambda: sealed(out, 3), "round 3 has its first reply")
    stage.say(f"{kill('hosts.tasks', host)} server process is killed in round 3")
    stage.until(lambda: stage.running["run"].poll() is not None, "that run has ended")
    stage.start("run", "host", *words)
    stage.until((out / "summary.json").exists, "the same command went on to the end")
    return out


def show(stage: Stage, out: Path, again: dict[str, Any]) -> bool:
    """Print the table; whether the model is the expected one."""
    from rich.console import Console
    from rich.table import Table

    summary = json.loads((out / "summary.json").read_text("utf-8"))
    table = Table("round", *NAMES, "accuracy", title="a federation's bad day")
    told = lines(out)
    for number in range(4):
        verdicts = {
            one["client"]: one["verdict"]
            if one["verdict"] == "accepted"
            else one["reason"]
            for one in told
            if one["kind"] == "contribution" and one["round"] == number
        }
        scores = [
            one["metrics"]["accuracy"]
            for one in told
            if one["kind"] == "evaluation" and one["round"] == number
        ]
        score = f"{scores[-1]:.1%}" if scores else ""
        table.add_row(str(number), *(verdicts.get(n, "-") for n in NAMES), score)
    Console().print(table)
    for name, address in stage.network.addresses.items():
        received, sent = stage.network.counted(name)
        print(f"{name} ({address}): {received:,} bytes in, {sent:,} out at its device")
    right = bool(again["model_digest"] == summary["model_digest"])
    print(f"model {summary['model_digest']}")
    print("is" if right else f"IS NOT {again['model_digest']},", "what its seals give")
    return right


def heed() -> None:
    """End what runs where this is told to stop, however often it is told."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(143)

    signal.signal(signal.SIGTERM, stop)


def main() -> int:
    """Play the day; 0 if the model is right and nothing is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="keep the folders here")
    parser.add_argument("--tiny", action="store_true", help="a made-up encoder")
    asked = parser.parse_args()
    if lacks := lacking():
        print(lacks, file=sys.stderr)
        return 2
    heed()
    with ExitStack() as stack:
        temporary = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="federation-")
        )
        root = asked.keep or Path(temporary)
        root.mkdir(parents=True, exist_ok=True)
        stage = Stage(root, stack.enter_context(Network(("host", *NAMES))))
        try:
            out = play(stage, tiny=asked.tiny)
        finally:
            stage.end()
        again = replay(out, root / "again")
        right = show(stage, out, again)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())

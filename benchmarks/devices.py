"""Do the bytes of the record agree with what a network device counted?

A coordinator and two institutions, each on a network of its own, send whole models as
float32 (29 MB before compression). The coordinator's device is read before and after
the run; what it counts in as long a time without a run is taken off.
Needs root (network namespaces), nginx and iproute2.
"""

import json
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fedelta.benchmarks.encoders import encoder, run_file, texts
from fedelta.benchmarks.federation import Stage, heed
from fedelta.benchmarks.networks import Network, lacking
from fedelta.client.joins import layouts as institutions
from fedelta.server.hosts import admissions
from fedelta.server.hosts.layouts import Ports, create

NAMES = ("hospital-a", "hospital-b")
ROUNDS = 2
TABLES = f"""
[run]
name = "devices"
rounds = {ROUNDS}
out = "devices"
[train]
mode = "full"
steps = 1
batch = 4
max_length = 16
[wire]
up = "fp32"
down = "fp32"
feedback = false
[round]
deadline_seconds = 200
"""
LOOK = 20.0
"""Seconds that are looked at for what passes without a run."""
APART = 0.05
"""How far the two counts may be apart."""


def up(stage: Stage) -> Path:
    """Bring coordinator and institutions up; the host's folder."""
    hosted = create(
        stage.root / "host", "devices", [stage.network.addresses["host"]], Ports()
    )
    model = encoder(stage.root, 384, 4)
    for name in NAMES:
        data = texts(stage.root, name, 32)
        folder = institutions.create(stage.root / name, name, str(data))
        institutions.accept(folder, admissions.admit(hosted, folder.public, name))
    test = texts(stage.root, "test", 8)
    run_file(stage.root / "run.toml", model, test, TABLES)
    stage.start("host", "host", "host", "up", str(hosted.root))
    stage.until(lambda: "nodes may join" in stage.said("host"), "the coordinator is up")
    for name in NAMES:
        stage.start(name, name, "join", "up", str(stage.root / name))
        told = f"{name} joins"
        stage.until(lambda told=told, name=name: told in stage.said(name), told)  # type: ignore[misc]
    return hosted.root


def counted(stage: Stage, host: Path) -> tuple[dict[str, int], float]:
    """Bytes at the coordinator's device during the run, and the seconds it took."""
    began, before = time.monotonic(), stage.network.counted("host")
    words = ("host", "run", str(stage.root / "run.toml"), "--dir", str(host))
    stage.start("run", "host", *words)
    done = host / "runs" / "devices" / "summary.json"
    stage.until(done.exists, "the run is done")
    after, took = stage.network.counted("host"), time.monotonic() - began
    return {"up": after[0] - before[0], "down": after[1] - before[1]}, took


def idle(stage: Stage, seconds: float) -> dict[str, int]:
    """Bytes at the coordinator's device in so long without a run: from a part of it."""
    part = min(seconds, LOOK)
    before = stage.network.counted("host")
    time.sleep(part)
    after = stage.network.counted("host")
    found = {"up": after[0] - before[0], "down": after[1] - before[1]}
    return {way: round(count * seconds / part) for way, count in found.items()}


def compared(stage: Stage, host: Path) -> dict[str, Any]:
    """Both counts and how far they are apart, by direction."""
    seen, took = counted(stage, host)
    quiet = idle(stage, took)
    summary = json.loads((host / "runs" / "devices" / "summary.json").read_text())
    return {
        way: {
            "device": seen[way],
            "idle": quiet[way],
            "record": summary["bytes"][way],
            "apart": (seen[way] - quiet[way]) / summary["bytes"][way] - 1,
        }
        for way in ("up", "down")
    }


def main() -> int:
    """Print the table; 0 if the counts agree."""
    if lacks := lacking():
        print(lacks, file=sys.stderr)
        return 2
    heed()
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="devices-")))
        stage = Stage(root, stack.enter_context(Network(("host", *NAMES))))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        try:
            found = compared(stage, up(stage))
        finally:
            stage.end()
    print("| direction | device | idle | less idle | record | apart |")
    print("|---|---|---|---|---|---|")
    for way, one in found.items():
        less = one["device"] - one["idle"]
        print(
            f"| {way} | {one['device']:,} | {one['idle']:,} | {less:,} "
            f"| {one['record']:,} | {one['apart']:+.2%} |"
        )
    right = all(abs(one["apart"]) <= APART for one in found.values())
    print(f"they {'agree' if right else 'DO NOT AGREE'} within {APART:.0%}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())

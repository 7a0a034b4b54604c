"""``make chaos``: kills at every moment, full disks, jumping clocks, broken lines.

Prints what was done, how often, and whether every run that was finished afterwards came
to the undisturbed run's model, bit for bit, with each client counted once. The storm
needs root (network namespaces), nginx and iproute2, the disk root; what a machine lacks
is said and left out.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from fedelta.benchmarks import deaths, scenarios
from fedelta.protocols.errors import FedeltaError
from fedelta.protocols.settings import Config

KILLED = "after rename of the manifest"
"""Where the run is killed whose clock is turned."""
SMALL, STEP = 120, 120
"""KiB of the disk that fills up, and by how much it grows each time."""
Row = tuple[str, str, int, int, int]  # fault, where, how often, runs, same


@contextmanager
def disk(folder: Path) -> Iterator[Callable[[int], None]]:
    """A file system of so many KiB at a folder; called, it grows."""
    folder.mkdir(parents=True)

    def sized(size: int, *words: str) -> None:
        options = f"{''.join(f'{word},' for word in words)}size={size}k"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        subprocess.run(command, check=True, capture_output=True)

    sized(SMALL)
    try:
        yield lambda size: sized(size, "remount")
    finally:
        subprocess.run(["umount", str(folder)], check=False)  # noqa: S607


def filled(given: Config, root: Path, wanted: str) -> Row:
    """A run on a disk that is full again and again; it grows each time."""
    attempt = scenarios.simulated(given)
    full, size = 0, SMALL
    with disk(root / "small") as grow:
        while True:
            try:
                attempt(root / "small")
                break
            except (OSError, FedeltaError, SafetensorError):
                full, size = full + 1, size + STEP
                grow(size)
        same = deaths.digest(root / "small" / "run") == wanted
    return "the disk is full", "server and clients", full, 1, int(same)


def turned(given: Config, root: Path, wanted: str) -> Row:
    """A run whose clock is a year ahead, that is killed, and goes on a year behind."""
    attempt, folder = scenarios.simulated(given), root / "clock"
    folder.mkdir()
    real, jumps = time.time, 0

    def shifted(days: int) -> deaths.Attempt:
        def run(folder: Path) -> None:
            time.time = lambda: real() + 86_400.0 * days
            attempt(folder)

        return run

    for days, point in ((365, KILLED), (-365, KILLED), (1, "")):
        deaths.forked(shifted(days), folder, deaths.Fate(point, 1))
        jumps += 1
    same = deaths.digest(folder / "run") == wanted
    return "the clock jumps by two years", "server and clients", jumps, 1, int(same)


def killed(root: Path, kills: int, seed: int) -> list[Row]:
    """Every scenario, killed as often."""
    rows: list[Row] = []
    given = scenarios.scenarios(root / "given")
    for at, one in enumerate(given):
        toll = deaths.suffer(one, root / str(at), -(-kills // len(given)), seed)
        for point, count in sorted(toll.kills.items()):
            rows.append((point, one.name, count, toll.runs, toll.same))
        say(
            f"{one.name}: {toll.kills.total()} kills at {len(toll.kills)} points, "
            f"{toll.same} of {toll.runs} runs with the undisturbed model"
        )
    return rows


def stormy(root: Path, asked: argparse.Namespace) -> list[Row]:
    """A federation of real processes, in bad weather."""
    from fedelta.benchmarks import networks, storms
    from fedelta.benchmarks.federation import Stage, heed

    heed()
    root.mkdir(parents=True)
    with networks.Network(storms.MACHINES) as network:
        stage = Stage(root, network)
        try:
            storm, right = storms.play(
                stage, asked.blows, asked.rounds, asked.seed, asked.limit
            )
        finally:
            stage.end()
    return [
        (blow, "processes and lines", count, 1, int(right))
        for blow, count in sorted(storm.blows.items())
    ]


def others(root: Path) -> list[Row]:
    """What a disk and a clock can do."""
    everybody = float(len(scenarios.WAYS))  # nobody is left out whose disk is full
    given = scenarios.config(root / "given", round={"quorum": everybody})
    plain = root / "plain"
    scenarios.simulated(given)(plain)
    wanted = deaths.digest(plain / "run")
    rows: list[Row] = []
    if os.geteuid():
        say("left out: the full disk needs root (a small file system is mounted)")
    else:
        rows.append(filled(given, root, wanted))
    rows.append(turned(given, root, wanted))
    return rows


def say(text: str) -> None:
    """A line, at once."""
    print(text, flush=True)


def show(rows: list[Row]) -> bool:
    """Print the table; whether every run came out as it should."""
    from rich.console import Console
    from rich.table import Table

    table = Table("fault", "of", "times", "runs", "same model", title="chaos")
    for fault, where, count, runs, same in rows:
        table.add_row(fault, where, str(count), str(runs), str(same))
    Console(width=100).print(table)
    total = sum(row[2] for row in rows)
    good = all(row[3] == row[4] for row in rows)
    kills = sum(
        row[2]
        for row in rows
        if row[0].startswith(("before", "after", "killed", "everything"))
    )
    say(
        f"{total} faults, {kills} of them kills: every finished run "
        f"{'has' if good else 'DOES NOT HAVE'} the undisturbed run's model"
    )
    return good


def main() -> int:
    """Play all of it; 0 if every run came to the right model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of single processes")
    parser.add_argument("--blows", type=int, default=6, help="in a storm; 0: none")
    parser.add_argument("--rounds", type=int, default=3, help="of the storm's run")
    parser.add_argument("--limit", type=float, default=1500, help="of it, seconds")
    parser.add_argument("--keep", type=Path, help="keep its folders here")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the table's rows here")
    asked = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        root = Path(temporary)
        scenarios.warm()
        if asked.kills:
            rows += others(root / "others")
            rows += killed(root / "deaths", asked.kills, asked.seed)
        lacks = [
            one
            for one in ("ip", "nginx")
            if not shutil.which(one, path=f"{os.environ['PATH']}:/usr/sbin")
        ]
        if asked.blows and (os.geteuid() or lacks):
            say(f"left out: the storm needs root, ip and nginx ({', '.join(lacks)})")
        elif asked.blows:
            rows += stormy(asked.keep or root / "storm", asked)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if show(rows) else 1


if __name__ == "__main__":
    sys.exit(main())

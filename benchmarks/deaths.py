"""Kills of a run's own processes, at every moment that its disk can tell apart.

What is heavy is imported once; each attempt at a run is a fork of that, in which the
file system's calls are counted, and which kills itself (SIGKILL) before or after one of
them: before the fsync of a reply's payload, after the rename of a round's manifest. The
next attempt goes on with what it finds.
"""

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fedelta.protocols import seeds
from fedelta.server import records

Attempt = Callable[[Path], None]
KINDS = {
    ".payload": "a sealed reply or an update",
    ".safetensors": "a state",
    ".jsonl": "the record",
    ".message": "a reply handed up",
}
NAMED = {
    "manifest.json": "the manifest",
    "config.json": "the configuration",
    "summary.json": "the summary",
    "members.json": "a region's list",
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A run that may be killed.

    Attributes:
        name: what it is called.
        attempt: begins the run in a folder, or goes on with it.
        out: the run's own folder in that folder.
    """

    name: str
    attempt: Attempt
    out: str


@dataclass(slots=True)
class Toll:
    """What came of a scenario.

    Attributes:
        scenario: its name.
        kills: by point, how many.
        runs: finished runs.
        same: those with the undisturbed run's model, everybody counted once.
    """

    scenario: str
    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    same: int = 0


def what(path: str) -> str:
    """What a file is, in words."""
    name = path.rsplit("/", 1)[-1].removeprefix(".").removesuffix(".part")
    if name in NAMED:
        return NAMED[name]
    for ending, said in KINDS.items():
        if name.endswith(ending):
            return said
    if name.endswith(".json") and "round-" in path:
        return "a reply's note"
    return "another file" if "." in name else "a folder"


class Fate:
    """Counts a process's writes, and ends it at one of them.

    Args:
        point: where, such as "before fsync of the manifest"; empty: nowhere.
        nth: which of them.
        log: file that all points are written to; None: none.
    """

    def __init__(self, point: str, nth: int, log: Path | None = None) -> None:
        self._point, self._left, self._log = point, nth, log

    def arm(self) -> None:
        """From here on this process is mortal."""
        sync, move = os.fsync, Path.replace

        def fsync(handle: int) -> None:
            path = str(Path(f"/proc/self/fd/{handle}").readlink())
            self._step(f"before fsync of {what(path)}")
            sync(handle)
            self._step(f"after fsync of {what(path)}")

        def replace(old: Path, new: Path) -> Path:
            self._step(f"before rename of {what(str(new))}")
            moved = move(old, new)
            self._step(f"after rename of {what(str(new))}")
            return moved

        os.fsync = fsync  # type: ignore[assignment]
        Path.replace = replace  # type: ignore[method-assign,assignment]

    def _step(self, point: str) -> None:
        if self._log is not None:
            with self._log.open("a") as log:
                log.write(f"{point}\n")
        if point == self._point:
            self._left -= 1
            if self._left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


def forked(attempt: Attempt, folder: Path, fate: Fate, limit: float = 120.0) -> bool:
    """One attempt in a child of its own; whether it was killed.

    Raises:
        RuntimeError: it failed by itself.
    """
    child = os.fork()
    if not child:
        code = 1
        try:
            quiet = os.open(folder.parent / "attempts.log", os.O_CREAT | os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            fate.arm()
            attempt(folder)
            code = 0
        finally:
            os._exit(code)
    until = time.monotonic() + limit
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise RuntimeError(f"an attempt took more than {limit:g} s")
        time.sleep(0.005)
    if done[1] and done[1] != signal.SIGKILL:
        raise RuntimeError(f"an attempt failed by itself: status {done[1]}")
    return done[1] == signal.SIGKILL


def counted(out: Path) -> list[tuple[int, str]]:
    """Round and client of every reply that was merged, in order."""
    return sorted(
        (int(one["round"]), str(one["client"]))
        for one in records.read(out / "record.jsonl")
        if one["kind"] == "contribution" and one["verdict"] == "accepted"
    )


def digest(out: Path) -> str:
    """The model that a finished run came to."""
    return str(json.loads((out / "summary.json").read_text())["model_digest"])


def chosen(points: list[str], seed: int) -> Iterator[tuple[str, int]]:
    """Points to die at: each once, and then at random, by seed."""
    names = sorted(set(points))
    many = Counter(points)
    for number in range(sys.maxsize):
        draw = seeds.words(seeds.key("death", seed), 2 * number, 2)
        first = int(draw[0]) % len(names) if number >= len(names) else number
        yield names[first], int(draw[1]) % many[names[first]]


def suffer(scenario: Scenario, root: Path, kills: int, seed: int) -> Toll:
    """Kill a scenario's runs so often; every run goes on to its end.

    Raises:
        RuntimeError: an attempt failed by itself.
    """
    plain = root / "plain"
    plain.mkdir(parents=True)
    log = root / "points.log"
    forked(scenario.attempt, plain, Fate("", 0, log))
    wanted, once = digest(plain / scenario.out), counted(plain / scenario.out)
    fates = chosen(log.read_text().splitlines(), seed)
    toll = Toll(scenario.name)
    while toll.kills.total() < kills:
        folder = root / f"run-{toll.runs:03}"
        folder.mkdir()
        for _ in range(8):  # deaths a run at most
            point, nth = next(fates)
            fate = Fate(point, nth if toll.runs % 2 else 0)
            if not forked(scenario.attempt, folder, fate):
                break
            toll.kills[point] += 1
        forked(scenario.attempt, folder, Fate("", 0))
        toll.runs += 1
        out = folder / scenario.out
        toll.same += digest(out) == wanted and counted(out) == once
    return toll

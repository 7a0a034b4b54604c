"""A run's record added up as it grows, for whoever asks every few seconds."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from ..records import Line
from .ledgers import RunFolder

TAIL = 256
"""Bytes before the place read last that must still be the same."""


class Meter:
    """What a run's record says so far, in numbers that only grow.

    A record is cut back where a crash left more than was committed: then it is read
    from the start again.

    Args:
        run: the run's folder.

    Attributes:
        replies: replies to be merged, by (client, verdict).
        refusals: by reason.
        bytes: by direction, "up" or "down"; "dense": what was merged, as float32.
        phases: seconds by phase, all rounds together.
        last: seconds by phase of the last round.
        seconds: of each client's last reply.
        values: the last evaluation, by (metric, where).
        rounds: rounds that are done.
        planned: rounds that there will be.
    """

    def __init__(self, run: RunFolder) -> None:
        self._path = run.path / "record.jsonl"
        self._place, self._tail = 0, b""
        self._clear()

    def _clear(self) -> None:
        self.replies: Counter[tuple[str, str]] = Counter()
        self.refusals: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter({"up": 0, "down": 0, "dense": 0})
        self.phases: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        self.values: dict[tuple[str, str], float] = {}
        self.rounds = self.planned = 0

    def read(self) -> "Meter":
        """Take in what was written since the last time; the meter itself."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._place - len(self._tail))
                if file.read(len(self._tail)) != self._tail:
                    self._place, self._tail = 0, b""
                    self._clear()
                    file.seek(0)
                data = file.read()
        except FileNotFoundError:
            return self
        whole = data[: data.rfind(b"\n") + 1]
        for text in whole.splitlines():
            self._add(json.loads(text))
        self._place += len(whole)
        self._tail = (self._tail + whole)[-TAIL:]
        return self

    def _add(self, line: Line) -> None:
        take: dict[str, Callable[[Line], None]] = {
            "run": self._run,
            "contribution": self._contribution,
            "enrolment": self._enrolment,
            "traffic": self._traffic,
            "round": self._round,
            "evaluation": self._evaluation,
        }
        if line["kind"] in take:
            take[line["kind"]](line)

    def _run(self, line: Line) -> None:
        self.planned = int(line.get("rounds") or 0)

    def _contribution(self, line: Line) -> None:
        client = str(line["client"])
        self.replies[client, str(line["verdict"])] += 1
        if line["verdict"] != "accepted":
            self.refusals[str(line.get("reason") or "unknown")] += 1
        self._count(line)
        if line.get("seconds") is not None:
            self.seconds[client] = float(line["seconds"])

    def _enrolment(self, line: Line) -> None:
        self.refusals[str(line.get("reason") or "unknown")] += 1

    def _traffic(self, line: Line) -> None:
        for one in line["clients"].values():
            self._count(one)

    def _count(self, line: dict[str, Any]) -> None:
        self.bytes["up"] += int(line.get("bytes", line.get("up")) or 0)
        self.bytes["down"] += int(line.get("down") or 0)

    def _round(self, line: Line) -> None:
        self.rounds += 1
        self.bytes["dense"] += int(line.get("up_dense_fp32") or 0)
        self.last = {name: float(one) for name, one in line["phases"].items()}
        for name, seconds in self.last.items():
            self.phases[name] = self.phases.get(name, 0.0) + seconds

    def _evaluation(self, line: Line) -> None:
        where = str(line.get("where") or "server")
        for name, value in line["metrics"].items():
            if isinstance(value, int | float):
                self.values[name, where] = float(value)

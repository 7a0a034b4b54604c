"""A run so far: its record's lines, added up for whoever watches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .tables import duration, size

Line = Mapping[str, Any]
PHASES = {
    "run": "the base model",
    "local": "for comparison: each client alone",
    "central": "for comparison: all data in one place",
}


@dataclass(slots=True)
class Tally:
    """A run so far, added up from its record's lines.

    Attributes:
        name: the run's.
        recipe: the merge's text.
        rounds: how many rounds there will be.
        clients: how many clients were asked in the round that runs.
        round: the last finished round.
        metric: which metric is told.
        base: that metric before round 1.
        value: that metric now.
        at: seconds since the start.
        began: when round 1 began.
        replies: verdicts of the round that runs, by client.
        losses: training losses of its accepted replies.
        rows: finished rounds, oldest first.
        up: bytes received.
        down: bytes sent.
        alone: comparisons that are done.
        phase: what happens now, in words.
    """

    name: str = ""
    recipe: str = ""
    rounds: int = 0
    clients: int = 0
    round: int = 0
    metric: str = "accuracy"
    base: float | None = None
    value: float | None = None
    at: float = 0.0
    began: float | None = None
    replies: dict[str, str] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    up: int = 0
    down: int = 0
    alone: int = 0
    phase: str = "starting"

    def add(self, line: Line) -> None:
        """Take one line of the record in; kinds that say nothing here pass by."""
        self.at = float(line.get("at", self.at))
        take: dict[str, Callable[[Line], None]] = {
            "run": self._run,
            "evaluation": self._evaluation,
            "contribution": self._contribution,
            "round": self._round,
            "asked": self._asked,
            "alone": self._alone,
        }
        self.phase = PHASES.get(line["kind"], self.phase)
        if line["kind"] in take:
            take[line["kind"]](line)

    @property
    def left(self) -> float | None:
        """Seconds until the last round, guessed from the rounds so far."""
        if not self.round or self.began is None:
            return None
        return (self.at - self.began) / self.round * (self.rounds - self.round)

    def _run(self, line: Line) -> None:
        self.name = str(line["name"])
        self.recipe = str(line["recipe"])
        self.rounds = int(line["rounds"])
        self.clients = len(line["clients"])
        self.metric = str(line.get("metric", self.metric))

    def _asked(self, line: Line) -> None:
        self.began = self.at if self.began is None else self.began
        self.clients = len(line["clients"])
        self.phase = f"round {line['round']}"

    def _alone(self, _: Line) -> None:
        self.alone += 1
        self.phase = f"for comparison: training alone, {self.alone} done"

    def _evaluation(self, line: Line) -> None:
        value = line["metrics"].get(self.metric)
        if not line["round"]:
            self.base = value
        self.value = value
        for row in self.rows[-1:]:
            if row["round"] == line["round"]:
                row["value"] = value

    def _contribution(self, line: Line) -> None:
        self.replies[line["client"]] = line["verdict"]
        self.up += int(line.get("bytes") or 0)
        if line["verdict"] == "accepted" and line.get("loss") is not None:
            self.losses.append(float(line["loss"]))

    def _round(self, line: Line) -> None:
        accepted = sum(verdict == "accepted" for verdict in self.replies.values())
        self.round = int(line["round"])
        self.down += int(line.get("down") or 0)
        self.rows.append(
            {
                "round": self.round,
                "accepted": accepted,
                "refused": len(self.replies) - accepted,
                "loss": sum(self.losses) / len(self.losses) if self.losses else None,
                "value": None,
                "up": self.up,
                "at": self.at,
            }
        )
        self.replies.clear()
        self.losses.clear()
        self.phase = f"round {self.round}: evaluation"


def told_round(tally: Tally, row: Mapping[str, Any]) -> str:
    """One finished round as a line of text."""
    parts = [f"round {row['round']}/{tally.rounds}", f"{row['accepted']} replies"]
    parts += [f"{row['refused']} refused"] if row["refused"] else []
    parts += [] if row["loss"] is None else [f"loss {row['loss']:.3f}"]
    parts += [f"{size(tally.up)} up", f"{size(tally.down)} down"]
    left = tally.left
    parts += [f"{duration(left)} left"] if left else []
    return ", ".join(parts)

"""What a run left behind, read back for its report."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..protocols.errors import CheckpointError
from . import files, records
from .tables import leading

SUMMARY = "summary.json"
RECORD = "record.jsonl"
CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class History:
    """A finished run.

    Attributes:
        folder: the run's.
        config: its settings, table by table.
        summary: what `summary.json` holds.
        lines: its record, oldest line first.
    """

    folder: Path
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    lines: tuple[records.Line, ...]

    @classmethod
    def read(cls, folder: Path) -> "History":
        """Read a run's folder.

        Raises:
            CheckpointError: a file is missing or broken; the message names it.
        """
        if not (folder / CONFIG).exists():
            raise CheckpointError(f"{folder} holds no run: there is no {CONFIG} in it")
        if not (folder / SUMMARY).exists():
            raise CheckpointError(
                f"{folder}: the run is not finished, there is no {SUMMARY}: go on by "
                "`fedelta resume`, or look on by `fedelta report --serve`"
            )
        config = files.read_json(folder / CONFIG)
        summary = files.read_json(folder / SUMMARY)
        return cls(folder, config, summary, tuple(records.read(folder / RECORD)))

    def of(self, kind: str) -> list[records.Line]:
        """The record's lines of one kind."""
        return [line for line in self.lines if line["kind"] == kind]

    @property
    def metric(self) -> str:
        """The metric that the report is about."""
        return leading(self.summary, self.config.get("eval", {}).get("metric", ""))

    def curve(self, metric: str) -> list[tuple[int, float]]:
        """A metric of the global model by round; round 0 is the base.

        Where a round was judged twice, the server's word, which comes last, counts.
        """
        found = {
            int(line["round"]): float(line["metrics"][metric])
            for line in self.of("evaluation")
            if line["metrics"].get(metric) is not None
        }
        return sorted(found.items())

    def alone(self, metric: str) -> dict[str, float]:
        """Each client's own model on the global test set, by client."""
        found = {
            str(one.get("client", place)): one.get("metrics", one).get(metric)
            for place, one in enumerate(self.summary["metrics"].get("local") or ())
        }
        return {name: value for name, value in found.items() if value is not None}

    def refusals(self) -> dict[str, Counter[str]]:
        """How often which reason was met, by client, most often first."""
        counts: dict[str, Counter[str]] = {}
        for line in self.of("contribution"):
            if line["verdict"] != "accepted":
                reason = str(line.get("reason") or "unknown")
                counts.setdefault(reason, Counter())[line["client"]] += 1
        order = sorted(counts, key=lambda reason: (-counts[reason].total(), reason))
        return {reason: counts[reason] for reason in order}

    def phases(self) -> list[tuple[int, dict[str, float]]]:
        """Seconds by phase, a row a round."""
        return [
            (line["round"], dict(line["phases"]))
            for line in self.of("round")
            if line.get("phases")
        ]

    def diagnostics(self) -> records.Line | None:
        """How the clients' updates of the last round lie to each other."""
        found = self.of("diagnostics")
        return found[-1] if found else None

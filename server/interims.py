"""A run that is not over: what its summary would say now, and who is awaited."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import files, records
from .histories import CONFIG, RECORD, SUMMARY, History
from .holders import holder
from .tables import size

FINISHED, RUNNING, STOPPED = "finished", "running", "stopped"


@dataclass(frozen=True, slots=True)
class Interim:
    """A run as it is now.

    Attributes:
        history: what it left behind so far; its summary is made up from the record
            where the run is not over, and has no metrics before the first evaluation.
        state: "finished", "running" or "stopped" (no process works on it).
    """

    history: History
    state: str

    @classmethod
    def read(cls, folder: Path) -> "Interim":
        """Read a run's folder at any time.

        Raises:
            CheckpointError: it holds no run.
        """
        if (folder / SUMMARY).exists():
            return cls(History.read(folder), FINISHED)
        state = RUNNING if holder(folder) else STOPPED
        config = files.read_json(folder / CONFIG)
        path = folder / RECORD
        lines = tuple(records.read(path)) if path.exists() else ()
        history = History(folder, config, {}, lines)
        return cls(replace(history, summary=summary(history)), state)

    @property
    def round(self) -> int:
        """The round that goes on, or the last one."""
        done = len(self.history.of("round"))
        return min(done + 1, self.planned) if self.planned else done

    @property
    def planned(self) -> int:
        """How many rounds there will be."""
        return int(self.history.config.get("run", {}).get("rounds", 0))

    def replies(self) -> list[tuple[str, str, str, str]]:
        """Of the round that goes on: client, what came, bytes, seconds."""
        told = dict.fromkeys(self._clients(), ("awaited", "", ""))
        for line in self.history.of("contribution"):
            if line["round"] == self.round:
                reason = line.get("reason")
                said = f"refused: {reason}" if reason else str(line["verdict"])
                seconds = line.get("seconds")
                took = "" if seconds is None else f"{seconds:.1f}"
                told[line["client"]] = (said, size(line.get("bytes") or 0), took)
        return [(name, *said) for name, said in sorted(told.items())]

    def _clients(self) -> list[str]:
        begun = self.history.of("run")
        return [str(name) for name in begun[0]["clients"]] if begun else []


def summary(history: History) -> dict[str, Any]:
    """What `summary.json` would hold if the run ended now.

    Example:
        >>> lines = ({"kind": "evaluation", "at": 1.0, "round": 0,
        ...           "metrics": {"loss": 2.0}},)
        >>> summary(History(Path(), {}, {}, lines))["metrics"]["base"]
        {'loss': 2.0}
    """
    begun: Mapping[str, Any] = next(iter(history.of("run")), {})
    judged = {line["round"]: line["metrics"] for line in history.of("evaluation")}
    rounds = history.of("round")
    releases = history.of("release")
    return {
        "recipe": begun.get("recipe", ""),
        "seed": begun.get("seed", 0),
        "rounds": len(rounds),
        "clients": len(begun.get("clients", ())),
        "metrics": {
            "base": judged.get(0, {}),
            "final": judged[max(judged)] if judged else {},
            "local": [
                {"client": line["client"], **line["metrics"]}
                for line in history.of("local")
            ],
        },
        "bytes": _bytes(history),
        "refused": dict(
            Counter(
                str(line.get("reason"))
                for line in history.of("contribution")
                if line["verdict"] != "accepted"
            )
        ),
        "seconds": history.lines[-1]["at"] if history.lines else None,
        "model_digest": releases[-1]["digest"] if releases else "",
        "environment": begun.get("environment", {}),
    }


def _bytes(history: History) -> dict[str, int]:
    found = {"up": 0, "down": 0, "up_dense_fp32": 0}
    for line in history.of("contribution"):
        found["up"] += int(line.get("bytes") or 0)
        found["down"] += int(line.get("down") or 0)
    for line in history.of("traffic"):
        for one in line["clients"].values():
            found["up"] += one["up"]
            found["down"] += one["down"]
    for line in history.of("round"):
        found["up_dense_fp32"] += int(line.get("up_dense_fp32") or 0)
    return found


def stamp(folder: Path) -> str:
    """What changes whenever a folder's page may: an ETag."""
    parts: list[Any] = [holder(folder) > 0]
    for name in (RECORD, SUMMARY):
        try:
            found = (folder / name).stat()
        except OSError:
            parts.append(None)
        else:
            parts += [found.st_size, found.st_mtime_ns]
    return json.dumps("-".join(map(str, parts)))

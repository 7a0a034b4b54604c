"""Several runs or replays side by side: what differs, and by how much, pair by pair.

Two runs are a pair where everything but what is compared is the same: data, clients,
model, seed and how they are judged. Differences are taken within pairs alone, so that
a lucky seed lifts both.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ..protocols.errors import ConfigError
from ..protocols.settings import Config
from .histories import History
from .tables import leading

RECIPE = "merge.recipe"

SILENT = {"run.name", "run.out", "run.seed", "run.engine", "journal.keep"}
SILENT |= {"data.hand_on", "eval.local", "eval.central"}
"""Keys by which two runs differ without being another experiment."""

OWN = {"hand_on", "line_up", "line_down", "gflops"}
"""What clients say of themselves that changes no result."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One run or replay of a comparison.

    Attributes:
        label: what sets it apart from the others.
        match: the same for entries that are judged alike.
        seed: its seed.
        history: what it left behind.
    """

    label: str
    match: str
    seed: int
    history: History

    @property
    def final(self) -> Mapping[str, float]:
        """Its final metrics."""
        found: Mapping[str, float] = self.history.summary["metrics"]["final"]
        return found


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one label's entries are from the first label's, pair by pair.

    Attributes:
        label: whose.
        values: the metric of each of its entries, in order.
        gaps: each pair's difference.
    """

    label: str
    values: tuple[float, ...]
    gaps: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of the entries' values."""
        return fmean(self.values)

    @property
    def gap(self) -> float | None:
        """Mean difference; None without a pair."""
        return fmean(self.gaps) if self.gaps else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of the differences; None with fewer than two pairs."""
        return stdev(self.gaps) if len(self.gaps) > 1 else None


def entries(folders: Sequence[Path]) -> list[Entry]:
    """Read runs and replays; a run brings its replays along.

    Raises:
        ConfigError: fewer than two, or none in a folder.
        CheckpointError: a file of one is missing or broken.
    """
    found: dict[Path, History] = {}
    for folder in folders:
        if not (folder / "summary.json").exists():
            raise ConfigError(f"{folder} holds no finished run or replay")
        replays = sorted((folder / "replays").glob("*/summary.json"))
        for one in (folder, *(path.parent for path in replays)):
            found.setdefault(one.resolve(), History.read(one))
    if len(found) < 2:  # noqa: PLR2004  one has nothing beside it
        raise ConfigError("there is nothing to compare with: name two runs or more")
    settings = [_flat(one.config) for one in found.values()]
    labels = _labels(settings, list(found.values()))
    return [
        Entry(label, _match(one.config), int(one.summary["seed"]), one)
        for label, one in zip(labels, found.values(), strict=True)
    ]


def labels(given: Iterable[Entry]) -> list[str]:
    """The labels, in the order of their first entries."""
    return list(dict.fromkeys(one.label for one in given))


def metrics(given: Sequence[Entry], first: str = "") -> list[str]:
    """Metrics that all entries have, the one that they are about first."""
    shared = [
        name
        for name in given[0].final
        if name != "examples" and all(name in one.final for one in given)
    ]
    if not shared:
        raise ConfigError("these runs have no metric in common")
    about = first or given[0].history.config.get("eval", {}).get("metric", "")
    lead = leading({"metrics": {"final": dict.fromkeys(shared, 0.0)}}, about)
    return [lead, *(name for name in shared if name != lead)]


def differences(given: Sequence[Entry], metric: str) -> list[Difference]:
    """Each label against the first one, pair by pair.

    A replay is paired with the run's replay by the first label where there is one.
    """
    order = labels(given)
    reference = {
        (one.match, one.seed): one.final[metric]
        for one in given
        if one.label == order[0]
    }
    found = []
    for label in order:
        own = [one for one in given if one.label == label]
        gaps = [
            one.final[metric] - reference[one.match, one.seed]
            for one in own
            if (one.match, one.seed) in reference and label != order[0]
        ]
        values = tuple(one.final[metric] for one in own)
        found.append(Difference(label, values, tuple(gaps)))
    return found


def _flat(config: Mapping[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for table, values in config.items():
        if isinstance(values, Mapping):
            for key, value in values.items():
                flat[f"{table}.{key}"] = _text(value)
        else:
            flat[table] = _text(values)
    return {key: value for key, value in flat.items() if key not in SILENT}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _labels(settings: Sequence[dict[str, str]], histories: list[History]) -> list[str]:
    """What each has other than the rest; the folder's name where that is nothing."""
    keys = sorted({key for one in settings for key in one}, key=_recipe_first)
    telling = [key for key in keys if len({one.get(key) for one in settings}) > 1]
    usual = _flat(asdict(Config()))
    found: list[str] = []
    for own, history in zip(settings, histories, strict=True):
        parts = [
            own[key] if key == RECIPE else f"{key.partition('.')[2]}={own[key]}"
            for key in telling
            if key == RECIPE or own.get(key) not in (None, usual.get(key))
        ]
        label = ", ".join(parts)
        replayed = "replay: " if history.summary.get("replay") else ""
        found.append(replayed + (label or history.summary["recipe"]))
    seen = [
        (label, one.summary["seed"])
        for label, one in zip(found, histories, strict=True)
    ]
    return [
        f"{label} ({one.folder.name})" if seen.count(key) > 1 else label
        for label, one, key in zip(found, histories, seen, strict=True)
    ]


def _recipe_first(key: str) -> tuple[bool, str]:
    return key != RECIPE, key


def _match(config: Mapping[str, Any]) -> str:
    """What must be alike; a key that a run's file does not have yet is as usual."""
    usual = asdict(Config())
    clients = [_shared(one) for one in config.get("clients", ())]
    alike = {table: usual[table] | config.get(table, {}) for table in ("data", "model")}
    told = {table: _shared(values) for table, values in alike.items()}
    return json.dumps(told | {"clients": clients}, sort_keys=True)


def _shared(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in OWN}

"""A finished run's round, looked into: would it merge, and what did each side get?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ...aggregators.compare import compare
from ...client import calibrations, probes
from ...client.data import Examples
from ...client.trials import trial
from ...protocols import seeds
from ...protocols.errors import ConfigError
from ...protocols.vectors import Floats
from .. import files, protections, records
from . import panels, retentions, soups
from .keepers import model
from .looks import COMMON, Look, Sets
from .revisits import Revisit, Round, revisited
from .watches import Tell, unheard

FILE = "diagnosis.json"
PROBE = 64
"""Texts of the public probe."""
MOST_PAIRS = 6
"""Pairs of clients whose segments are walked, the least alike first."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is looked at, and how closely.

    Attributes:
        number: the round; 0: the last one whose replies are kept.
        probe: how many texts of the test set serve as a public probe.
        metric: of clients' tasks; empty: `eval.metric`.
        beside: labelled files by name: what else all models are judged on.
        texts: of each client's that models are judged on; 0: all, below 0: a few (see
            `looks`).
    """

    number: int = 0
    probe: int = PROBE
    metric: str = ""
    beside: Mapping[str, Path] = field(default_factory=dict)
    texts: int = -1


def diagnose(
    folder: Path, asked: Asked = Asked(), tell: Tell = unheard
) -> dict[str, Any]:
    """Look into one round of a finished run, from its sealed replies; no training.

    Args:
        folder: the run's; what is found goes to its ``diagnosis.json``.
        asked: what is looked at.
        tell: takes how many texts were judged, and how many will be.

    Returns:
        "round"; "judged", texts in all; "updates" by layer and pair (see
        `fedelta.aggregators.compare`); "states" and "barriers" (see
        `fedelta.client.probes`); "clients" (see `retentions`) and "soup" (see `soups`);
        "sets": metrics of all models and of the clients' ensemble on the test set and
        beside it (see `panels`); "chances" that the merged one is no better, over
        texts; "trained": what the run's end found of other ways to train; "calibration"
        of the same models, where classes are told.

    Raises:
        ConfigError: no finished run, no such round, no test set to probe with, or
            replies that were merged under noise.
    """
    with revisited(folder) as visit:
        protections.once(visit.tape.config, Path(folder))
        chosen = visit.tape.chosen(asked.number)
        if not len(visit.tape.task.test):
            raise ConfigError("there is no test set (data.test) to probe with")
        look = Look(visit, asked.texts, tell)
        some = _probe(visit, asked.probe)
        sets = {panels.TEST: visit.tape.task.test}
        sets |= panels.elsewhere(visit, asked.beside)
        sets = {n: look.some(one, n, times=COMMON) for n, one in sets.items()}
        with visit.round(chosen) as played:
            wanted = asked.metric or visit.tape.config.eval.metric
            updates = _layers(played)
            look.begin(_volume(look, played, some, sets))
            found = {
                "round": chosen,
                "probe": len(some),
                "judged": look.total,
                "updates": updates,
                **_before(look, played, some),
                "clients": retentions.measured(look, played, wanted),
                "soup": soups.greedy(look, played, wanted),
                **_all(look, played, sets),
                "trained": panels.trained(visit, wanted),
            }
    told = dict(records.finite(found))
    files.write_json(Path(folder) / FILE, told)
    return told


def _volume(look: Look, played: Round, some: Examples, sets: Sets) -> int:
    """How many texts will be judged."""
    count = len(played.arrivals)
    walked = min(MOST_PAIRS, count * (count - 1) // 2)
    return (
        (count + 2) * len(some)
        + walked * probes.POINTS * len(look.some(some, "probe"))
        + retentions.volume(look, played)
        + soups.volume(look, played)
        + sum(panels.volume(played, one) for one in sets.values())
    )


def _probe(visit: Revisit, count: int) -> Examples:
    """Some of the test set, the same for the same run."""
    test = visit.tape.task.test
    key = seeds.key("probe", visit.tape.config.run.seed)
    order = seeds.permutation(key, len(test))
    return test.take(np.sort(order[:count]))


def _before(look: Look, played: Round, some: Examples) -> dict[str, Any]:
    """Hidden states of all models, and losses on the way between some."""
    base, config = model(look.visit.session), look.visit.tape.config
    names = played.names
    solos = {name: played.solo(name) for name in names}
    merged = played.merged().update
    models: dict[str, Mapping[str, Floats]] = {"last": {}, "merged": merged, **solos}
    states = []
    for update in models.values():
        with trial(base, update):
            states.append(probes.states(base, some.texts, config))
        look.judged(len(some))
    told, few, barriers = probes.divergence(states), look.some(some, "probe"), []
    for one, other in _pairs(names, told["rate_gap"]):
        ends = solos[one], solos[other]
        found = probes.barrier(base, ends, few, config)
        barriers.append({"between": [one, other]} | found)
        look.judged(probes.POINTS * len(few))
    return {"states": {"models": list(models), **told}, "barriers": barriers}


def _layers(played: Round) -> dict[str, Any]:
    """How updates stand to each other, whole, and layer by layer and pair by pair."""
    found = compare(played.arrivals, pairs=True)
    kept = ("clients", "densities", "pairs", "cosine", "conflict_trimmed")
    return {key: found[key] for key in kept}


def _pairs(names: Sequence[str], gaps: Sequence[Sequence[float]]) -> list[list[str]]:
    """Pairs of clients, those with the widest gap first."""
    places = list(combinations(range(len(names)), 2))
    places.sort(key=lambda two: -gaps[two[0] + 2][two[1] + 2])
    return [[names[one], names[other]] for one, other in places[:MOST_PAIRS]]


def _all(look: Look, played: Round, sets: Sets) -> dict[str, Any]:
    """All models on all sets; how sure they are of the test set's classes."""
    found: dict[str, Any] = {}
    calibration: dict[str, Any] = {}
    by_chance: dict[str, Any] = {}
    for name, some in sets.items():
        scores, owners = panels.seen(look, played, some)
        domains = look.visit.tape.task.labels if name == panels.TEST else ("",)
        found[name] = panels.judged(scores, owners, some.labels, domains)
        if name == panels.TEST:
            by_chance = panels.chances(scores, owners, some.labels)
        if name == panels.TEST and owners is None:
            calibration = {
                which: calibrations.reliability(one, some.labels)
                | {"accuracy": found[name][which]["accuracy"]}
                for which, one in scores.items()
            }
    return {"sets": found, "calibration": calibration, "chances": by_chance}


def predictors(
    values: Mapping[str, Sequence[float]], drops: Sequence[float]
) -> dict[str, float]:
    """How well each figure's order tells the order of drops: rank correlations.

    Args:
        values: figures by name, one a merge.
        drops: how much each merge lost.

    Example:
        >>> predictors({"gap": [1, 2, 3], "conflict": [3, 1, 2]}, [0.1, 0.2, 0.4])
        {'gap': 1.0, 'conflict': -0.5}
    """
    wanted = _ranks(drops)
    found = {}
    for name, given in values.items():
        ranks = _ranks(given)
        spread = float(ranks.std() * wanted.std())
        shared = float(((ranks - ranks.mean()) * (wanted - wanted.mean())).mean())
        found[name] = round(shared / spread, 12) if spread else 0.0
    return found


def _ranks(values: Sequence[float]) -> Any:
    """Ranks from 0, equal ones sharing theirs."""
    given = np.array(values, np.float64)
    below = (given[:, None] > given).sum(1)
    return below + ((given[:, None] == given).sum(1) - 1) / 2

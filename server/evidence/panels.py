"""All models of a round on the same texts: the test set, and texts from elsewhere.

The base, the last and the merged model, each client's own, and the ensemble of these:
the mean of the probabilities that they give, class by class or for each next token.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from ...client import accuracies, perplexities
from ...client.calibrations import Scores, ensemble
from ...client.data import CAUSAL, Examples, outside
from ...client.trials import trial
from ...protocols.errors import ConfigError
from ...protocols.vectors import Floats
from ..cards import Card
from ..tables import gained, told
from .bootstraps import chance
from .keepers import model
from .looks import Look
from .revisits import Revisit, Round

BASE, LAST, MERGED, ENSEMBLE = "base", "last", "merged", "ensemble"
COMMON = (BASE, LAST, MERGED, ENSEMBLE)
AGAINST = (BASE, LAST, ENSEMBLE)
"""What the merged model is held against, text by text."""
MEAN, ALONE, CENTRAL = "own, mean", "trained alone, mean", "trained on all data"
TEST = "test"
MOST = 12
"""Pairs of clients that are drawn."""
BY = "perplexity/"

Seen = dict[str, Scores]
"""By model its log-probabilities: [n, classes], or [tokens] of the right ones."""


def elsewhere(visit: Revisit, given: Mapping[str, Path]) -> dict[str, Examples]:
    """Sets from elsewhere by name.

    Raises:
        ConfigError: one cannot be read, is empty, or is called as the test set is.
    """
    config, labels = visit.tape.config, visit.tape.task.labels
    found = {n: outside(str(path), config, labels) for n, path in given.items()}
    for name, some in found.items():
        if name == TEST or not len(some):
            raise ConfigError(f"--beside {name}: another name, and a file with texts")
    return found


def seen(look: Look, played: Round, some: Examples) -> tuple[Seen, Any]:
    """What every model gives some texts.

    Returns:
        By model its scores; for a causal LM also the text of each token.
    """
    visit = look.visit
    base, config = model(visit.session), visit.tape.config
    network: Any = base.network
    own = {one.name: played.solo(one.name) for one in played.arrivals}
    updates: dict[str, Mapping[str, Floats]] = {
        LAST: {},
        MERGED: played.merged().update,
        **own,
    }
    found, owners = dict[str, Scores](), None

    def judge(name: str) -> Any:
        whose = None
        if config.model.task == CAUSAL:
            values, whose = network.spread(some.texts, config.train)
            found[name] = -values
        else:
            found[name] = network.predict(some.texts, config.train)
        look.judged(len(some))
        return whose

    for name, update in updates.items():
        with trial(base, update):
            owners = judge(name)
    visit.at(0)
    judge(BASE)
    visit.at(played.number - 1)
    found[ENSEMBLE] = ensemble([found[name] for name in own])
    order = [*COMMON, *own]
    return {name: found[name] for name in order}, owners


def volume(played: Round, some: Examples) -> int:
    """How many texts `seen` judges."""
    return (len(played.arrivals) + 3) * len(some)


def judged(
    scores: Seen,
    owners: npt.NDArray[np.int64] | None,
    labels: npt.NDArray[np.int64],
    domains: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Metrics by model.

    Args:
        scores: as `seen` gives them.
        owners: of tokens, their texts; None: texts' classes were scored.
        labels: of texts, the places of their classes or domains.
        domains: what domains are called; "": not told apart.
    """
    if owners is None:
        return {n: accuracies.metrics(one, labels) for n, one in scores.items()}
    return {
        name: perplexities.of_tokens(-one, owners, labels, domains)
        for name, one in scores.items()
    }


def chances(
    scores: Seen,
    owners: npt.NDArray[np.int64] | None,
    labels: npt.NDArray[np.int64],
) -> dict[str, dict[str, dict[str, float]]]:
    """How much better the merged model is, text by text, and whether by chance.

    Returns:
        By model of `AGAINST` and metric ("loss", nats a text or a token of it; of
        classes also "accuracy"): "gap", above 0 where the merged one is better, "low"
        and "high" (see `bootstraps.chance`, over texts), and "p".
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    mine = _by_text(scores[MERGED], owners, labels)
    for name in AGAINST:
        other = _by_text(scores[name], owners, labels)
        for key, values in mine.items():
            gaps = values - other[key]
            if (seen := chance(gaps.tolist())) is not None:
                told_of = {"gap": float(gaps.mean()), "low": seen.low}
                told_of |= {"high": seen.high, "p": seen.p}
                found.setdefault(name, {})[key] = told_of
    return found


def _by_text(
    scores: Scores,
    owners: npt.NDArray[np.int64] | None,
    labels: npt.NDArray[np.int64],
) -> dict[str, Scores]:
    """What a model is worth on each text, by metric: more is better."""
    if owners is None:
        right = (scores.argmax(1) == labels).astype(np.float64)
        return {"accuracy": right, "loss": scores[np.arange(len(labels)), labels]}
    counts = np.bincount(owners, minlength=len(labels))
    means = np.bincount(owners, scores, len(labels)) / np.maximum(counts, 1)
    return {"loss": means[counts > 0]}


def trained(visit: Revisit, metric: str) -> dict[str, float]:
    """What the run's end found of models trained alone, and on all data at once."""
    metrics = visit.tape.summary["metrics"]
    local = [one[metric] for one in metrics.get("local") or () if metric in one]
    central = (metrics.get("central") or {}).get(metric)
    told_of = {ALONE: fmean(local) if local else None, CENTRAL: central}
    return {name: value for name, value in told_of.items() if value is not None}


def layers(found: Mapping[str, Any]) -> Iterator[Card]:
    """Which two clients are at odds in which layer."""
    from .drawings import bands

    names, tables = found["updates"]["clients"], found["updates"]["pairs"]
    key = "conflict_trimmed"
    pairs = list(combinations(range(len(names)), 2))
    pairs.sort(
        key=lambda two: -sum(one[key][two[0]][two[1]] for one in tables.values())
    )
    if not pairs or not tables:
        return
    rows = [f"{names[i]}, {names[j]}" for i, j in pairs[:MOST]]
    matrix = [[one[key][i][j] for one in tables.values()] for i, j in pairs[:MOST]]
    yield Card(
        f"Who is at odds with whom, and in which layer? Round {found['round']}",
        "The share of opposite signs among the largest elements of two clients' "
        f"updates (one half: unrelated); of {len(pairs)} pairs those with most of them "
        "first. Cosines, magnitudes, subspaces and energies by layer and pair are in "
        "diagnosis.json.",
        (bands(matrix, rows, list(tables)),),
        ("pair", *tables),
        tuple(
            (row, *(f"{value:.3f}" for value in values))
            for row, values in zip(rows, matrix, strict=True)
        ),
        wide=True,
    )


def cards(found: Mapping[str, Any]) -> Iterator[Card]:
    """All models side by side, set by set; a causal LM's by domain too."""
    sets: Mapping[str, Mapping[str, Mapping[str, float]]] = found["sets"]
    metric = str(found["clients"]["metric"])
    columns = {
        f"{name} ({one[MERGED]['examples']:.0f} texts)": _column(one, metric)
        for name, one in sets.items()
    }
    beside = found.get("trained") or {}
    next(iter(columns.values())).update(beside)
    others = "" if len(sets) > 1 else " Others are judged by --beside NAME=FILE."
    if beside:
        others += (
            " What was trained alone, as long as the run, or on all data in one place, "
            "was judged at the run's end, on all test texts."
        )
    yield Card(
        f"How do all models do? {metric.capitalize()}, round {found['round']}",
        "The base, the model before this round, the merged one, the ensemble of all "
        "clients' own models (which none of them could run), and these by themselves."
        + others,
        head=("model", *columns),
        rows=tuple(_rows(columns, metric)),
        opened=True,
        wide=True,
    )
    yield from _sure(found)
    parts = sorted(n for n in sets[TEST][MERGED] if n.startswith(BY))
    if parts:
        by_domain = {n.removeprefix(BY): _column(sets[TEST], n) for n in parts}
        yield Card(
            f"And domain by domain? Perplexity, round {found['round']}",
            "On the test set's texts of each domain.",
            head=("model", *by_domain),
            rows=tuple(_rows(by_domain, "perplexity")),
            opened=True,
            wide=True,
        )


def _sure(found: Mapping[str, Any]) -> Iterator[Card]:
    """Whether the merged model's lead may be chance."""
    held = found.get("chances") or {}
    rows = []
    for name, metrics in held.items():
        for key, one in metrics.items():
            ends = (gained(key, one[end], 0.0) for end in ("gap", "low", "high"))
            rows.append((name, key, *ends, f"{one['p']:.2g}"))
    if rows:
        count = found["sets"][TEST][MERGED]["examples"]
        yield Card(
            f"Is that more than chance? Round {found['round']}",
            f"How much better (above 0) the merged model is than another on the same "
            f"{count:.0f} test texts, and between what 95 of 100 such means lie when "
            "texts are drawn again; p is the paired bootstrap's. That is the chance of "
            "texts. Of seeds it says nothing: `fedelta compare` does.",
            head=("than", "by", "better by", "from", "to", "p"),
            rows=tuple(rows),
            opened=True,
        )


def _column(models: Mapping[str, Mapping[str, float]], metric: str) -> dict[str, float]:
    """A metric by model; of clients' own models also the mean."""
    found = {n: one[metric] for n, one in models.items() if metric in one}
    own = [value for name, value in found.items() if name not in COMMON]
    return found | ({MEAN: fmean(own)} if own else {})


def _rows(
    columns: Mapping[str, Mapping[str, float]], metric: str
) -> Iterator[tuple[str, ...]]:
    names = list(dict.fromkeys(n for one in columns.values() for n in one))
    order = [name for name in (*COMMON, MEAN, ALONE, CENTRAL) if name in names]
    order += [name for name in names if name not in order]
    for name in order:
        yield name, *(told(metric, one.get(name)) for one in columns.values())

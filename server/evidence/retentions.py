"""What a merge left of each client's own model, and what pairs of them do.

A client's own model is the last global one with its own update, as it was received.
Where less of a metric is better its inverse is what is kept. R_geo is the geometric
mean of all retentions, which one bad client pulls down, TRR the arithmetic one.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean, pstdev
from typing import Any

from ...client.evaluation import evaluate
from ...client.trials import trial
from ...protocols.metrics import falls
from ...protocols.vectors import Floats
from .keepers import model
from .revisits import Revisit, Round

MOST_PAIRS = 28
"""Pairs of clients that are merged by themselves; with more clients none are."""


def kept(metric: str, merged: float, own: float) -> float | None:
    """Which part of its own model's worth a client has with the merged one.

    Example:
        >>> kept("accuracy", 0.6, 0.8), kept("perplexity", 20.0, 10.0), kept("f1", 1, 0)
        (0.7499999999999999, 0.5, None)
    """
    above, below = (own, merged) if falls(metric) else (merged, own)
    return above / below if below > 0 else None


def retained(retentions: Sequence[float]) -> dict[str, float]:
    """R_geo and TRR.

    Example:
        >>> retained([0.5, 2.0])
        {'r_geo': 1.0, 'trr': 1.25}
    """
    if not retentions:
        return {}
    logs = [math.log(max(one, 1e-12)) for one in retentions]
    return {"r_geo": math.exp(fmean(logs)), "trr": fmean(retentions)}


def fairness(values: Mapping[str, float], metric: str) -> dict[str, Any]:
    """Who is worst off, and how far clients are apart.

    Example:
        >>> fairness({"a": 0.5, "b": 0.7}, "accuracy")["worst"]
        {'client': 'a', 'value': 0.5}
    """
    if not values:
        return {}
    choose = max if falls(metric) else min
    worst = choose(values, key=lambda name: values[name])
    return {
        "worst": {"client": worst, "value": values[worst]},
        "mean": fmean(values.values()),
        "spread": pstdev(values.values()),
    }


def measured(visit: Revisit, played: Round, metric: str) -> dict[str, Any]:
    """Every client's task with the merged model, its own one, and those of pairs.

    Returns:
        "clients": those with examples of their own; by client "before", "own",
        "merged" and "retention"; "retained"; "fairness" of the merged model;
        "interference": [K][K], how much better (above 0) or worse a client does with
        the merge of two than with its own model; None where nothing was measured.
    """
    names = [one.name for one in played.arrivals if len(visit.judging(one.name))]
    merged = _values(visit, names, played.merged().update, metric)
    before = _values(visit, names, None, metric)
    own = {n: _values(visit, [n], played.solo(n), metric)[n] for n in names}
    found = {
        name: {
            "before": before[name],
            "own": own[name],
            "merged": merged[name],
            "retention": kept(metric, merged[name], own[name]),
        }
        for name in names
    }
    kept_all = [one["retention"] for one in found.values()]
    return {
        "metric": metric,
        "clients": names,
        "by_client": found,
        "retained": retained([one for one in kept_all if one is not None]),
        "fairness": fairness(merged, metric),
        "interference": interference(visit, played, own, metric),
    }


def interference(
    visit: Revisit, played: Round, own: Mapping[str, float], metric: str
) -> list[list[float | None]]:
    """[K][K]: what merging with each other one does to a client's task."""
    names = list(own)
    table: list[list[float | None]] = [[None] * len(names) for _ in names]
    pairs = list(combinations(range(len(names)), 2))
    sign = -1.0 if falls(metric) else 1.0
    for one, other in pairs if len(pairs) <= MOST_PAIRS else ():
        two = [names[one], names[other]]
        found = _values(visit, two, played.merged(two).update, metric)
        table[one][other] = sign * (found[two[0]] - own[two[0]])
        table[other][one] = sign * (found[two[1]] - own[two[1]])
    return table


def _values(
    visit: Revisit,
    names: Sequence[str],
    update: Mapping[str, Floats] | None,
    metric: str,
) -> dict[str, float]:
    """A metric of each client's task with an update folded in."""
    base, config = model(visit.session), visit.session.config
    with trial(base, update or {}):
        return {n: evaluate(base, visit.judging(n), config)[metric] for n in names}

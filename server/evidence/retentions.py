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

from ...protocols.metrics import falls
from .looks import Look
from .revisits import Round

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


def measured(look: Look, played: Round, metric: str) -> dict[str, Any]:
    """Every client's task with the merged model, its own one, and those of pairs.

    Returns:
        "clients": those whose task can be judged; "texts": on how many; by client
        "before", "own", "merged" and "retention"; "retained"; "fairness" of the merged
        model; "interference": [K][K], how much better (above 0) or worse a client does
        with the merge of two than with its own model; None where nothing was measured.
    """
    tasks = look.of(played.names)
    merged = look.values(tasks, played.merged().update, metric)
    before = look.values(tasks, None, metric)
    own = {
        name: look.values({name: task}, played.solo(name), metric)[name]
        for name, task in tasks.items()
    }
    found = {
        name: {
            "before": before[name],
            "own": own[name],
            "merged": merged[name],
            "retention": kept(metric, merged[name], own[name]),
        }
        for name in tasks
    }
    kept_all = [one["retention"] for one in found.values()]
    return {
        "metric": metric,
        "clients": list(tasks),
        "texts": {name: len(task) for name, task in tasks.items()},
        "by_client": found,
        "retained": retained([one for one in kept_all if one is not None]),
        "fairness": fairness(merged, metric),
        "interference": interference(look, played, own, metric),
    }


def volume(look: Look, played: Round) -> int:
    """How many texts `measured` judges."""
    tasks = look.of(played.names)
    times = 3 + (len(tasks) - 1 if _walked(len(tasks)) else 0)
    return times * sum(map(len, tasks.values()))


def interference(
    look: Look, played: Round, own: Mapping[str, float], metric: str
) -> list[list[float | None]]:
    """[K][K]: what merging with each other one does to a client's task."""
    names, tasks = list(own), look.of(played.names)
    table: list[list[float | None]] = [[None] * len(names) for _ in names]
    sign = -1.0 if falls(metric) else 1.0
    for one, other in _walked(len(names)):
        two = [names[one], names[other]]
        given = {name: tasks[name] for name in two}
        found = look.values(given, played.merged(two).update, metric)
        table[one][other] = sign * (found[two[0]] - own[two[0]])
        table[other][one] = sign * (found[two[1]] - own[two[1]])
    return table


def _walked(count: int) -> list[tuple[int, int]]:
    """Pairs that are merged by themselves."""
    pairs = list(combinations(range(count), 2))
    return pairs if len(pairs) <= MOST_PAIRS else []

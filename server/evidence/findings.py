"""What a diagnosis found, as tables for a terminal."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from statistics import fmean
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..tables import gained, told
from .panels import COMMON, TEST
from .sheets import SHOWN

WORST = 5
"""Pairs that are shown."""


def diagnosis(found: Mapping[str, Any]) -> Iterator[Table | str]:
    """Who is at odds, who kept what, and how all models do; the report has the rest."""
    yield _pairs(found)
    if found["clients"]["clients"]:
        yield _clients(found["clients"])
    yield _models(found)
    yield _soup(found["soup"])


def _table(title: str, *columns: str) -> Table:
    """Words to the left, numbers to the right."""
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left")
    table.caption_justify = "left"
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place else "left")
    return table


def _pairs(found: Mapping[str, Any]) -> Table:
    """Those whose larger changes have most signs against each other."""
    updates, states = found["updates"], found["states"]
    names, gaps = updates["clients"], states["rate_gap"]
    barriers = {frozenset(one["between"]): one["barrier"] for one in found["barriers"]}
    pairs = list(combinations(range(len(names)), 2))
    pairs.sort(key=lambda two: -updates["conflict_trimmed"][two[0]][two[1]])
    table = _table(
        f"round {found['round']}: do they pull apart? Of {len(pairs)} pairs the worst",
        *("pair", "signs against", "cosine", "rate gap", "barrier"),
    )
    places = {name: place for place, name in enumerate(states["models"])}
    for one, other in pairs[:WORST]:
        two = names[one], names[other]
        barrier = barriers.get(frozenset(two))
        table.add_row(
            ", ".join(two),
            f"{updates['conflict_trimmed'][one][other]:.1%}",
            f"{updates['cosine'][one][other]:+.3f}",
            f"{gaps[places[two[0]]][places[two[1]]]:.2f} bits",
            "-" if barrier is None else f"{barrier:.4f}",
        )
    return table


def _clients(clients: Mapping[str, Any]) -> Table:
    """What each kept of its own model."""
    metric, both, fair = clients["metric"], clients["retained"], clients["fairness"]
    by_client = clients["by_client"]
    title = f"what did each client get? Its task by {metric}"
    table = _table(title, "client", "texts", "before", "own", "merged", "retention")
    for name, one in list(by_client.items())[:SHOWN]:
        values = [told(metric, one[key]) for key in ("before", "own", "merged")]
        kept = one["retention"]
        told_of = "-" if kept is None else f"{kept:.3f}"
        table.add_row(name, str(clients["texts"][name]), *values, told_of)
    if len(by_client) > SHOWN:
        table.add_row(f"... {len(by_client) - SHOWN} more", *[""] * 5)
    table.add_section()
    means = [fmean(one[key] for one in by_client.values()) for key in _KEYS]
    kept = f"{both['r_geo']:.3f}" if both else "-"
    table.add_row("mean, R_geo", "", *(told(metric, one) for one in means), kept)
    worst, spread = fair["worst"], told(metric, fair["spread"])
    table.caption = (
        f"worst off: {worst['client']}, {told(metric, worst['value'])}; clients are "
        f"{spread} apart (standard deviation)"
    )
    return table


_KEYS = ("before", "own", "merged")


def _models(found: Mapping[str, Any]) -> Table:
    """All models on the test set and beside it; how sure they are."""
    sets, metric = found["sets"], found["clients"]["metric"]
    sure = found["calibration"]
    count = int(next(iter(sets[TEST].values()))["examples"])
    head = [f"{TEST} ({count})", *(name for name in sets if name != TEST)]
    title = f"how do all models do? By {metric}"
    led = {name: next(iter(one.values())) for name, one in found["chances"].items()}
    by = next(iter(next(iter(found["chances"].values()), {"loss": None})))
    more = [f"merged better ({by}), 95 %"] if led else []
    table = _table(title, "model", *head, *(["ECE"] if sure else []), *more)
    own = [name for name in sets[TEST] if name not in COMMON]
    for name in COMMON:
        values = [told(metric, one[name].get(metric)) for one in sets.values()]
        values += [f"{sure[name]['ece']:.3f}"] if sure else []
        table.add_row(name, *values, *([_lead(by, led.get(name))] if led else []))
    if own:
        held = [
            [one[n][metric] for n in own if metric in one[n]] for one in sets.values()
        ]
        values = [told(metric, fmean(some) if some else None) for some in held]
        ece = [f"{fmean(sure[name]['ece'] for name in own):.3f}"] if sure else []
        table.add_row("own, mean", *values, *ece)
    for name, value in found["trained"].items():
        table.add_row(name, told(metric, value))
    if found["trained"]:
        table.caption = "trained ...: judged at the run's end, on all test texts"
    return table


def _lead(metric: str, one: Mapping[str, float] | None) -> str:
    """By how much the merged model is better, and between what."""
    if one is None:
        return ""
    low, high = (gained(metric, one[end], 0.0) for end in ("low", "high"))
    return f"{low} to {high}"


def _soup(soup: Mapping[str, Any]) -> str:
    """Whose models a greedy soup keeps."""
    metric, out = soup["metric"], sorted(set(soup["alone"]) - set(soup["members"]))
    return (
        f"greedy soup, {soup['texts']} texts: {told(metric, soup['value'])} by "
        f"{len(soup['members'])} of {len(soup['alone'])} clients"
        f"{', without ' + ', '.join(out) if out else ''}; all: "
        f"{told(metric, soup['all'])}"
    )

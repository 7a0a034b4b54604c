"""Several runs or replays on one page: ``compare.html``."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from ..protocols.errors import ConfigError
from ..protocols.metrics import falls
from . import files
from .cards import Card
from .evidence.bootstraps import Chance, chance
from .pairings import Difference, Entry, differences, entries, labels, metrics
from .report import missing, rendered, settings
from .tables import duration, gained, size, told

PAGE = "compare.html"
SHORT = (0, 1, 3, 5, 6, 7, 8)
"""Columns of the first table that a terminal shows."""


def write(folders: Sequence[Path], out: Path | None = None, metric: str = "") -> Path:
    """Compare runs and replays on one page.

    Args:
        folders: of runs or replays; a run brings its replays along. The first one is
            what the others are held against.
        out: the page; None: `compare.html` in the first folder.
        metric: which one is told first; empty: the first run's `eval.metric`.

    Returns:
        Where the page is.

    Raises:
        ConfigError: what `missing` says, or nothing to compare.
        CheckpointError: a run's file is missing or broken.
    """
    lacking = missing()
    if lacking:
        raise ConfigError(lacking)
    path = out or Path(folders[0]) / PAGE
    found = entries([Path(folder) for folder in folders])
    files.write(path, page(found, metric).encode())
    return path


def answer(folders: Sequence[Path], metric: str = "") -> Card:
    """Which one does better: what of the page's first table a terminal has room for.

    What all is held against comes first, then the best; a column that says nothing of
    anyone, such as an interval of one pair, is left out.
    """
    found = entries([Path(folder) for folder in folders])
    first, *_ = metrics(found, metric)
    basis, *others = differences(found, first)
    others.sort(key=lambda one: one.mean, reverse=not falls(first))
    whole = next(_table([basis, *others], first))
    some = [at for at in SHORT if any(row[at] != "-" for row in whole.rows)]
    rows = (tuple(row[place] for place in some) for row in whole.rows)
    head = tuple(whole.head[place] for place in some)
    return replace(whole, head=head, rows=tuple(rows))


def page(found: Sequence[Entry], metric: str = "") -> str:
    """The comparison as HTML text."""
    names = metrics(found, metric)
    told_of = differences(found, names[0])
    first = found[0].history
    makers = (_table(told_of, names[0]), _gaps(told_of, names[0]))
    cards = [card for maker in makers for card in maker]
    cards += [*_curves(found, names[0]), *_metrics(found, names), *_costs(found)]
    return rendered(
        kicker="comparison",
        name=", ".join(dict.fromkeys(_name(one) for one in found)),
        lead=_lead(found, told_of, names[0]),
        tiles=[
            (one.label, told(names[0], one.mean), _beside(one, names[0]))
            for one in told_of
        ],
        cards=cards,
        settings=list(settings(first.config)),
        environment=list(settings({"": first.summary.get("environment") or {}})),
        digest="",
        source="record.jsonl and summary.json of each folder",
    )


def _name(entry: Entry) -> str:
    replayed = entry.history.summary.get("replay")
    if replayed:
        return str(replayed["of"])
    return str(entry.history.config.get("run", {}).get("name", "run"))


def _lead(found: Sequence[Entry], told_of: Sequence[Difference], metric: str) -> str:
    pairs = sum(len(one.gaps) for one in told_of)
    seeds = len({one.seed for one in found})
    return (
        f"{len(found)} runs and replays, {len(labels(found))} ways, {seeds} "
        f"seed{'s' if seeds > 1 else ''}, {pairs} pairs: {metric}, held against "
        f"{told_of[0].label}."
    )


def _beside(one: Difference, metric: str) -> str:
    if one.gap is None:
        return metric
    return gained(metric, one.gap, 0.0)


def _table(told_of: Sequence[Difference], metric: str) -> Iterator[Card]:
    rows = []
    for one in told_of:
        paired, seen, own = one.gap is not None, chance(one.gaps), chance(one.values)
        rows.append(
            (
                one.label,
                told(metric, one.mean),
                f"{told(metric, own.low)} to {told(metric, own.high)}" if own else "-",
                gained(metric, one.gap, 0.0) if paired else "-",
                gained(metric, one.spread, 0.0).lstrip("+") if one.spread else "-",
                _between(metric, seen),
                f"{seen.p:.2g}" if seen else "-",
                f"{seen.signs:.2g}" if seen else "-",
                str(len(one.gaps)) if paired else "-",
            )
        )
    yield Card(
        f"Which one does better? {metric.capitalize()}",
        "Differences are taken between runs of the same data, clients, model and "
        "seed, and then averaged. With one pair nothing is known of chance: repeat "
        "it with other seeds. From three on, intervals hold 95 of 100 means of as many "
        "values, or differences, drawn from them (too narrow with few). p is how often "
        "differences drawn so, moved to where there is none, have as large a mean (the "
        "paired bootstrap; too small with few); p of signs, how often signs by chance "
        "would give it.",
        head=(
            "",
            metric,
            "95 % between",
            f"above {told_of[0].label}",
            "spread",
            "95 % between",
            "p",
            "p of signs",
            "pairs",
        ),
        rows=tuple(rows),
        opened=True,
        wide=True,
    )


def _between(metric: str, seen: Chance | None) -> str:
    if seen is None:
        return "-"
    return f"{gained(metric, seen.low, 0.0)}, {gained(metric, seen.high, 0.0)}"


def _gaps(told_of: Sequence[Difference], metric: str) -> Iterator[Card]:
    from .overlays import gaps

    paired = {one.label: one.gaps for one in told_of if one.gaps}
    if paired:
        yield Card(
            "How sure is that? Pair by pair",
            "A dot a pair, a bar where their mean is.",
            (gaps(paired, metric, told_of[0].label),),
        )


def _curves(found: Sequence[Entry], metric: str) -> Iterator[Card]:
    from .overlays import curves

    lines = {}
    for label in labels(found):
        own = [one.history.curve(metric) for one in found if one.label == label]
        rounds = sorted(set.intersection(*({at for at, _ in one} for one in own)))
        lines[label] = [
            (at, fmean(dict(one)[at] for one in own)) for at in rounds if own
        ]
    lines = {label: line for label, line in lines.items() if line}
    replayed = any(one.history.summary.get("replay") for one in found)
    note = (
        " A replay's point is the recorded model before that round with this one "
        "merge: its points are no path of one model."
        if replayed
        else ""
    )
    if lines:
        yield Card(
            f"{metric.capitalize()} by round",
            f"Means over seeds.{note}",
            (curves(lines, metric),),
        )


def _metrics(found: Sequence[Entry], names: Sequence[str]) -> Iterator[Card]:
    told_of = {name: differences(found, name) for name in names}
    rows = tuple(
        (label, *(told(name, told_of[name][place].mean) for name in names))
        for place, label in enumerate(labels(found))
    )
    yield Card(
        "And by the other metrics?",
        head=("", *names),
        rows=rows,
        opened=True,
        wide=True,
    )


def _costs(found: Sequence[Entry]) -> Iterator[Card]:
    rows = []
    for label in labels(found):
        own = [one.history.summary for one in found if one.label == label]
        up = fmean(one["bytes"]["up"] for one in own)
        down = fmean(one["bytes"]["down"] for one in own)
        seconds = fmean(one["seconds"] for one in own)
        rows.append((label, size(up), size(down), duration(seconds)))
    yield Card(
        "What did it cost?",
        "Means over seeds. A replay sends nothing: the bytes are those of its run.",
        head=("", "up", "down", "time"),
        rows=tuple(rows),
        opened=True,
    )

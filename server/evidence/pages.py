"""A search as a page: the Pareto front, and all that was tried."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...protocols.metrics import falls
from .. import files
from ..cards import Card
from ..tables import size, told

Point = tuple[float, float]


def page(
    folder: Path,
    done: Sequence[Any],
    best: Sequence[Any],
    metric: str,
    config: Mapping[str, Any] | None = None,
) -> Path | None:
    """Write a search's `search.html`; nothing where reports cannot be drawn."""
    from ..environments import describe
    from ..report import missing, rendered, settings

    if missing():
        return None
    good = [one for one in done if one.value is not None]
    head = ("settings", metric, "worst client", "bytes", "epsilon", "rounds")
    cards = [
        Card(
            "What does it cost to do better?",
            f"{len(done)} trials, of which {len(best)} are beaten by no other one in "
            f"{metric}, worst client, bytes and epsilon at once: the Pareto front, in "
            "the table (its first row runs as front-1.toml, and so on), and larger in "
            "the pictures. What is best of many is best partly by luck.",
            tuple(_pareto(good, best, metric)),
            head,
            tuple(_row(one, metric) for one in best),
            wide=True,
            opened=True,
        ),
        Card(
            "What was tried?",
            f"All trials, the best first; {len(done) - len(good)} could not be used.",
            head=head,
            rows=tuple(_row(one, metric) for one in ordered(done, metric)),
            wide=True,
        ),
    ]
    text = rendered(
        kicker="search",
        name=folder.name,
        lead=f"{len(done)} trials, judged by {metric}.",
        tiles=[],
        cards=cards,
        settings=list(settings(config or {})),
        environment=list(settings({"": describe()})),
        digest="",
        source="trials.jsonl beside this file",
    )
    path = folder / "search.html"
    files.write(path, text.encode())
    return path


def ordered(done: Sequence[Any], metric: str) -> list[Any]:
    """Trials, best first; what could not be used last."""
    sign = 1.0 if falls(metric) else -1.0
    return sorted(done, key=lambda one: (one.value is None, sign * (one.value or 0.0)))


def _pareto(good: Sequence[Any], best: Sequence[Any], metric: str) -> Iterator[str]:
    """Value by each cost that is not the same for all; by bytes where all are."""
    from .drawings import BYTES, WORST, front

    names = {BYTES: "bytes", WORST: "worst", "epsilon": "epsilon"}
    varied = [
        label
        for label, name in names.items()
        if len({getattr(one, name) for one in good} - {None}) > 1
    ]
    for label in varied or [BYTES]:
        points, shown = (
            sorted(
                (float(getattr(one, names[label])), one.value)
                for one in some
                if getattr(one, names[label]) is not None
            )
            for some in (good, best)
        )
        joined = shown if label == WORST else rising(shown, metric)
        yield front(points, shown, metric, joined, label)


def rising(points: Sequence[tuple[float, float]], metric: str) -> list[Point]:
    """Those that do better than all that cost no more.

    Example:
        >>> rising([(1.0, 0.5), (1.0, 0.4), (2.0, 0.45), (3.0, 0.6)], "accuracy")
        [(1.0, 0.5), (3.0, 0.6)]
    """
    sign = 1.0 if falls(metric) else -1.0
    found = list[Point]()
    for cost, value in sorted(points, key=lambda one: (one[0], sign * one[1])):
        if not found or sign * value < sign * found[-1][1]:
            found.append((cost, value))
    return found


def _row(one: Any, metric: str) -> tuple[str, ...]:
    said = ", ".join(f"{key}={value}" for key, value in one.settings.items())
    return (
        f"{said} ({one.said})" if one.said else said,
        told(metric, one.value),
        "-" if one.worst is None else told(metric, one.worst),
        size(one.bytes),
        "-" if one.epsilon is None else f"{one.epsilon:.3g}",
        str(one.rounds),
    )

"""What a run is told in, once it is over: tables for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..protocols.terms import LEAST

LONGEST = 72
"""Characters of a text in a table."""


def leaked(said: Mapping[str, Any]) -> Iterator[str]:
    """What each choice of a masked round would open, one line each.

    Example:
        >>> next(leaked({"release": 3, "leaks": {"shared, one pass": 0.25}}))
        '25.0% of elements opened from fewer than 3, by chance: shared, one pass'
    """
    few = max(said["release"], LEAST)
    for choice, share in said["leaks"].items():
        text = f"of elements opened from fewer than {few}, by chance: {choice}"
        yield f"{share:.1%} {text}"


def size(count: float) -> str:
    """Bytes for a person (powers of 1000).

    Example:
        >>> size(812), size(98_304), size(2_640_000)
        ('812 B', '98.3 KB', '2.64 MB')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """Seconds for a person.

    Example:
        >>> duration(8.24), duration(94), duration(7_300)
        ('8.2 s', '1 min 34 s', '2 h 1 min')
    """
    hours, rest = divmod(round(seconds), 3600)
    if hours:
        return f"{hours} h {rest // 60} min"
    minutes, rest = divmod(rest, 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def leading(summary: Mapping[str, Any], wanted: str = "") -> str:
    """The metric that a run is about: the wanted one, its own, or its final's first.

    Where nothing was judged, the one wanted, or "metric".
    """
    final = summary["metrics"]["final"]
    for name in (wanted, summary.get("metric", ""), "accuracy"):
        if name in final:
            return name
    return str(next(iter(final), wanted or "metric"))


def is_share(metric: str) -> bool:
    """Whether a metric is a share of one, told in percent and gained in points."""
    return metric == "accuracy" or metric.endswith(("_f1", "_accuracy", "_match"))


def told(metric: str, value: float | None) -> str:
    """A metric's value for a person.

    Example:
        >>> told("accuracy", 0.6072), told("loss", 1.25), told("loss", None)
        ('60.7 %', '1.250', '-')
    """
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if is_share(metric) else f"{value:.3f}"


def gained(metric: str, value: float | None, over: float | None) -> str:
    """How much a value is above another, in points where it is a share.

    Example:
        >>> gained("accuracy", 0.607, 0.481), gained("loss", 1.5, 2.0)
        ('+12.6 points', '-0.500')
    """
    if value is None or over is None:
        return "-"
    rise = value - over
    return f"{100 * rise:+.1f} points" if is_share(metric) else f"{rise:+.3f}"


def milestones(
    summary: Mapping[str, Any], metric: str
) -> dict[str, tuple[str, float | None]]:
    """What a final model is held against: label and value by name, where measured."""
    metrics = summary["metrics"]
    local = [one[metric] for one in metrics.get("local") or () if metric in one]
    marks: dict[str, tuple[str, float | None]] = {
        "base": ("before training", (metrics.get("base") or {}).get(metric)),
        "local": ("clients alone, mean", fmean(local) if local else None),
        "final": ("merged model", metrics["final"].get(metric)),
        "central": (
            "all data in one place",
            (metrics.get("central") or {}).get(metric),
        ),
    }
    return {name: mark for name, mark in marks.items() if mark[1] is not None}


def closing_table(summary: Mapping[str, Any], metric: str = "") -> Table:
    """What was gained: base, local mean, final and central, side by side."""
    metric = leading(summary, metric)
    marks = milestones(summary, metric)
    final = marks["final"][1] if "final" in marks else None
    table = Table(title=f"{summary['recipe']}, seed {summary['seed']}")
    table.add_column("model", no_wrap=True)
    table.add_column(metric, justify="right")
    table.add_column("merged is above it by", justify="right")
    for name, (label, value) in marks.items():
        rise = "" if name == "final" else gained(metric, final, value)
        style = "bold" if name == "final" else None
        table.add_row(label, told(metric, value), rise, style=style)
    if not marks:
        table.add_row("not judged (eval.where)", "-", "-")
    return table


def traffic(summary: Mapping[str, Any]) -> Iterator[str]:
    """How much travelled, a line a direction."""
    sent = summary["bytes"]
    dense = sent.get("up_dense_fp32")
    beside = f", {dense / sent['up']:.1f} times under" if dense and sent["up"] else ""
    whole = f" {size(dense)} as dense float32" if beside else ""
    yield f"up    {size(sent['up'])}{beside}{whole}"
    yield f"down  {size(sent['down'])}"


def closing_lines(
    summary: Mapping[str, Any], folder: Path, report: Path | None, seconds: float
) -> Iterator[str]:
    """Traffic, time, and where to look next."""
    yield from traffic(summary)
    yield f"time  {duration(summary.get('seconds', seconds))}"
    yield f"model {folder / 'model'}"
    if report is not None:
        yield f"report {report}"


def plain(card: Any) -> Table:
    """A page's table for a terminal."""
    table = Table(title=card.title, title_justify="left", box=SIMPLE_HEAD)
    for place, name in enumerate(card.head):
        table.add_column(name, justify="right" if place else "left", overflow="fold")
    for row in card.rows:
        table.add_row(*row)
    return table


def replay_table(summaries: Sequence[Mapping[str, Any]]) -> Table:
    """What each replay reached in its last round, and above the base model."""
    metric = leading(summaries[0])
    table = Table(title=f"replays of {summaries[0]['replay']['of']}")
    table.add_column("recipe")
    table.add_column("space")
    table.add_column(metric, justify="right")
    table.add_column("above the base", justify="right")
    table.add_column("above the first", justify="right")
    first = summaries[0]["metrics"]["final"].get(metric)
    for one in summaries:
        value = one["metrics"]["final"].get(metric)
        base = (one["metrics"].get("base") or {}).get(metric)
        table.add_row(
            one["recipe"],
            one["space"],
            told(metric, value),
            gained(metric, value, base),
            gained(metric, value, first),
        )
    return table


def inspection_table(found: Mapping[str, Any]) -> Table:
    """What `fedelta inspect` found in a file."""
    table = Table(box=SIMPLE_HEAD, show_header=False)
    table.add_row("file", f"{found['file']}: {found['kind']}, {size(found['bytes'])}")
    for name, text in found["header"].items():
        table.add_row(name, text if len(text) <= LONGEST else f"{text[:LONGEST]}...")
    for name, count in found.get("streams", {}).items():
        table.add_row(name, size(count))
    if found.get("size"):
        each = f"{found['bits_per_element']:.3g} bits an element"
        table.add_row("density", f"{found['density']:.4g}, {each}")
        dense = size(found["dense_fp32"])
        table.add_row("dense fp32", f"{dense}: {found['times_smaller']:.3g} times more")
    for name, count in found.get("formats", {}).items():
        table.add_row(f"tensors as {name}", str(count))
    if places := found.get("positions"):
        told = f"{size(places['floor'])}: {places['over_floor']:.4g} times that"
        table.add_row("entropy floor of positions", told)
    return table

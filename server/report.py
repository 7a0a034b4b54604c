"""A run's report: one HTML file that opens offline, pictures and numbers inside."""

from collections.abc import Iterator, Mapping
from importlib.resources import files as resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..protocols.errors import ConfigError
from . import files
from .histories import History
from .tables import duration, gained, milestones, size, told

NEEDED = ("jinja2", "matplotlib")


def missing() -> str | None:
    """What to install before a report can be written; None: nothing."""
    absent = [name for name in NEEDED if find_spec(name) is None]
    if not absent:
        return None
    return f'{" and ".join(absent)} missing: pip install "fedelta[report]"'


def write(folder: Path) -> Path:
    """Write `report.html` into a finished run's folder.

    Returns:
        Where it is.

    Raises:
        ConfigError: jinja2 or matplotlib is not installed.
        CheckpointError: the folder holds no finished run.
    """
    lacking = missing()
    if lacking:
        raise ConfigError(lacking)
    path = folder / "report.html"
    files.write(path, page(History.read(folder)).encode())
    return path


def page(history: History) -> str:
    """The report as HTML text, the same for the same history."""
    from .cards import cards

    return rendered(
        kicker="federated run",
        name=history.config.get("run", {}).get("name", history.folder.name),
        lead=lead(history),
        tiles=list(tiles(history)),
        cards=cards(history),
        settings=list(settings(history.config)),
        environment=list(settings({"": history.summary.get("environment") or {}})),
        digest=history.summary.get("model_digest", ""),
        source="record.jsonl and summary.json beside this file",
    )


def rendered(**parts: Any) -> str:
    """A page of our template: every part that it names, by name.

    With ``live=True`` it asks for itself again (see `fedelta.server.broadcasts`).
    """
    from jinja2 import Environment, StrictUndefined

    shelf = resources(__package__ or "") / "templates"
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((shelf / "report.html.j2").read_text("utf-8"))
    style = (shelf / "report.css.j2").read_text("utf-8")
    return template.render(**{"live": False, "style": style} | parts)


def lead(history: History) -> str:
    """The run in one sentence."""
    summary, metric = history.summary, history.metric
    clients = summary["clients"]
    count = clients if isinstance(clients, int) else len(clients)
    marks = milestones(summary, metric)
    final = marks["final"][1] if "final" in marks else None
    against = [
        f"{gained(metric, final, marks[name][1])} against {label}"
        for name, label in (
            ("base", "the base model"),
            ("local", "the mean of the clients' own models"),
            ("central", "one model trained on all data"),
        )
        if name in marks and final is not None
    ]
    reached = "not judged" if final is None else f"{metric} {told(metric, final)}"
    text = (
        f"{count} clients, {_rounds(summary['rounds'])}, merged by "
        f"{summary['recipe']}: {reached}"
    )
    return f"{text} ({'; '.join(against)})." if against else f"{text}."


def tiles(history: History) -> Iterator[tuple[str, str, str]]:
    """Label, value and remark of what a reader looks for first."""
    summary, metric = history.summary, history.metric
    marks = milestones(summary, metric)
    final = marks["final"][1] if "final" in marks else None
    for name in ("final", "base", "local", "central"):
        if name in marks:
            label, value = marks[name]
            remark = f"merged: {gained(metric, final, value)}"
            yield label, told(metric, value), metric if name == "final" else remark
    sent = summary["bytes"]
    if sent.get("up_dense_fp32") and sent["up"]:
        ratio = sent["up_dense_fp32"] / sent["up"]
        yield "uplink", size(sent["up"]), f"{ratio:.1f} times under dense float32"
    if spent := summary.get("privacy"):
        remark = f"by {spent['level']}, at delta {spent['delta']:g}"
        yield "epsilon", f"{spent['epsilon']:.3g}", remark
    if summary.get("seconds") is not None:
        yield "time", duration(summary["seconds"]), "all of the run"


def settings(tables: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Tables of settings as key and text, one key a row."""
    for table, values in tables.items():
        if isinstance(values, Mapping):
            prefix = f"{table}." if table else ""
            for key, value in values.items():
                yield f"{prefix}{key}", _text(value)
        elif values:
            yield table, _text(values)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(one) for one in value)
    return str(value)


def _rounds(count: int) -> str:
    return "1 round" if count == 1 else f"{count} rounds"

"""Plans, exports and searches as tables for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..tables import duration, leaked, size, told
from .limits import Limit, Way
from .plans import BYTES, DOWN, EPSILON, GOALS, MEMORY, SECONDS, SERVER, UP

SHOWN = 12
"""Clients that are shown."""


def goals(found: Mapping[str, Any]) -> Table:
    """What a run comes to, goal by goal."""
    table = Table(box=SIMPLE_HEAD, show_header=False)
    table.add_row(
        "run", f"{found['rounds']} rounds", f"{len(found['clients'])} clients"
    )
    for name in (BYTES, UP, DOWN, SECONDS, MEMORY, SERVER):
        value = found[name]
        text = duration(value) if name == SECONDS else size(value)
        table.add_row(name, text, GOALS[name])
    model = found["model"]
    table.add_row(
        "model",
        f"{model['parameters']:,}",
        f"parameters; {model['trained']:,} trained, {model['update']:,} handed out",
    )
    private = found["privacy"]
    if private:
        table.add_row("privacy", private["mode"], spent(private))
    _masked(table, found["secure"])
    given = found["assumed"]
    table.add_row(
        "assumed",
        f"{given['gflops']:.3g} GFLOPS",
        f"of a client (plan.gflops), on a line of {given['line_up']} up and "
        f"{given['line_down']} down (plan.line_up, plan.line_down), if its own table "
        "says nothing else",
    )
    return table


def _masked(table: Table, said: Mapping[str, Any]) -> None:
    """What the server opens, what masks take, and the leak of each choice."""
    name = "masked sum" if said["on"] else "no masks"
    if "lacking" in said:
        table.add_row(name, "-", f"the server opens {said['opens']}; {said['lacking']}")
        return
    least = f"{said['threshold']} of {said['clients']}" if said["on"] else "-"
    table.add_row(name, least, f"the server opens {said['opens']}")
    table.add_row("", size(said["bytes"]), "masked words of a client a round, at most")
    for text in leaked(said):
        share, _, rest = text.partition(" ")
        table.add_row("", share, rest)


def spent(private: Mapping[str, Any]) -> str:
    """What a private run spends, beside its budget."""
    budget = f", of {private['budget']:g}" if private["budget"] else ""
    if private.get("epsilon") is None:
        return f"delta {private['delta']:g}; each ledger tells epsilon{budget}"
    over = budget and private["epsilon"] > private["budget"]
    more = ": above the budget" if over else ""
    found = f"epsilon {private['epsilon']:.3g}{budget}"
    return f"{found} at delta {private['delta']:g}{more}"


def clients(found: Mapping[str, Any]) -> Table:
    """What each client sends and holds."""
    table = Table(box=SIMPLE_HEAD, collapse_padding=True)
    table.add_column("client", overflow="fold")
    for name in ("rounds", "up", "down", "reply", "compute", "line", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, one in list(found["clients"].items())[:SHOWN]:
        table.add_row(
            name,
            str(one["rounds"]),
            size(one["up"]),
            size(one["down"]),
            size(one["reply"]),
            duration(one["computing"]),
            duration(one["line"]),
            size(one["memory"]),
        )
    if (left := len(found["clients"]) - SHOWN) > 0:
        table.add_row(f"{left} more: --json")
    return table


def memory(found: Mapping[str, Any]) -> Table:
    """Where the memory of each side goes."""
    name, most = max(found["clients"].items(), key=lambda one: one[1]["memory"])
    head = ("bytes of", *most["parts"])
    table = Table(*head, box=SIMPLE_HEAD)
    table.add_row(name, *(size(one) for one in most["parts"].values()))
    table.add_row("the server", *(size(one) for one in found["server"].values()))
    return table


def ways(limit: Limit, reached: float, found: Sequence[Way]) -> Table:
    """What to change to keep within a limit."""
    text = {SECONDS: duration, EPSILON: "{:.3g}".format}.get(limit.goal, size)
    table = Table(box=SIMPLE_HEAD)
    table.add_column(f"{limit.goal}: {text(reached)}, limit {text(limit.most)}")
    table.add_column("then", justify="right")
    for way in found:
        kept = "" if way.reached <= limit.most else " (above it still)"
        table.add_row(way.words, text(way.reached) + kept)
    return table


def trial(
    settings: Mapping[str, Any], value: float | None, metric: str, said: str
) -> str:
    """One trial in a line."""
    text = ", ".join(f"{key}={one}" for key, one in settings.items())
    return f"{told(metric, value)}  {text}" + (f"  ({said})" if said else "")


def trials(found: Sequence[Mapping[str, Any]], metric: str) -> Table:
    """Settings that a search tried, best first."""
    private = any(one["epsilon"] is not None for one in found)
    more = ("epsilon",) if private else ()
    table = Table(box=SIMPLE_HEAD)
    table.add_column("settings", overflow="fold")
    for name in (metric, "worst client", "bytes", "rounds", *more):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found[:SHOWN]:
        epsilon = "-" if one["epsilon"] is None else f"{one['epsilon']:.3g}"
        table.add_row(
            ", ".join(f"{key}={value}" for key, value in one["settings"].items()),
            told(metric, one["value"]),
            told(metric, one["worst"]),
            size(one["bytes"]),
            str(one["rounds"]),
            *(epsilon for _ in more),
        )
    return table

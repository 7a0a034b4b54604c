"""What clients' own models give them, as tables for a terminal."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..tables import told
from .personals import MODELS


def personal(found: Mapping[str, Any]) -> Table:
    """Every client's task with every model, and the mix that it chose."""
    table = values(found, MODELS, ("share", "judged_by"))
    table.caption = "share: how much of its own training a client takes"
    return table


def values(
    found: Mapping[str, Any], models: Sequence[str], more: Sequence[str] = ()
) -> Table:
    """A row a client, a column a model; their mean and the worst of them.

    Args:
        found: "metric", "by_client", "mean" and "worst".
        models: columns, as far as they are there.
        more: further columns of numbers of each client.
    """
    metric = found["metric"]
    there = [name for name in models if name in found["mean"]]
    heads = [one.replace("_", " ") for one in more]
    table = Table("client", *there, *heads, box=SIMPLE_HEAD)
    for name, one in found["by_client"].items():
        row = [told(metric, one[each]) for each in there]
        table.add_row(name, *row, *(f"{one[each]:g}" for each in more))
    table.add_section()
    for which in ("mean", "worst"):
        table.add_row(which, *(told(metric, found[which][each]) for each in there))
    return table


def divided(found: Mapping[str, Any]) -> Table:
    """A row a cluster: who is in it, how alike they are, what either merge does."""
    metric = found["metric"]
    heads = ("cluster", "members", "cosine within", "with others", "all", "own merge")
    table = Table(*heads, box=SIMPLE_HEAD)
    for one in found["clusters"]:
        merges = (_mean(metric, one[name]) for name in ("everybody", "own"))
        alike = (_cosine(one[name]) for name in ("alike", "apart"))
        table.add_row(one["name"], ", ".join(one["members"]), *alike, *merges)
    return table


def _cosine(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _mean(metric: str, some: Mapping[str, float]) -> str:
    return told(metric, fmean(some.values()) if some else None)

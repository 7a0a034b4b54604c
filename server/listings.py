"""What `fedelta methods` lists: recipes, LoRA by name, optimisers, client methods."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..aggregators import catalogues, outer
from ..aggregators.base import FORMED, SPACES

METHOD_HEAD = ("recipe", "what it does", "knobs", "adds up in", "under masks in")


def method_rows(known: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """A row a recipe: name, what it does, knobs, and in which spaces what holds.

    Args:
        known: as `fedelta.aggregators.recipes.describe` gives it.
    """
    for one in known:
        spaces = one["spaces"]
        adds = [name for name, held in spaces.items() if held["family"] == "sum"]
        masks = [name for name, held in spaces.items() if held["maskable"]]
        knobs = ", ".join(
            key if value is None else f"{key}={value!r}"
            for key, value in one["knobs"].items()
        )
        does = (
            f"{one['summary']} ({one['source']})" if one["source"] else one["summary"]
        )
        yield one["name"], does, knobs, _told(adds), _told(masks)


def _told(spaces: Sequence[str]) -> str:
    """Spaces by name; where most are meant, those that are not."""
    others = [one for one in SPACES if one not in spaces]
    if not others or len(others) > len(FORMED):
        return ("everywhere" if spaces and not others else ", ".join(spaces)) or "-"
    return f"all but {', '.join(others)}"


LORA_HEAD = ("in papers", "lora.space", "what it does", "a mean adds up", "under masks")


def lora_rows(known: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """A row an aggregation of LoRA.

    Args:
        known: as `fedelta.aggregators.catalogues.lora` gives it.
    """
    for one in known:
        does = f"{one['summary']} ({one['source']})"
        adds = "yes" if one["family"] == "sum" else "no: all factors travel"
        yield (
            one["name"],
            one["space"],
            does,
            adds,
            "yes" if one["maskable"] else "no",
        )


def method_tables(known: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """The recipes, LoRA's aggregations and what clients do, for a terminal."""
    yield _folding(METHOD_HEAD, method_rows(known))
    yield _folding(LORA_HEAD, lora_rows(catalogues.lora()))
    rows = [
        (one["name"], ", ".join(f"{key}={value!r}" for key, value in knobs.items()))
        for one in outer.describe()
        if (knobs := one["knobs"]) is not None
    ]
    yield _folding(("merge.server_optimizer", "knobs"), rows)
    told = catalogues.clients()
    rows = [(one["key"], f"{one['summary']} ({one['source']})") for one in told]
    yield _folding(("at the client", "what it does"), rows)


def _folding(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(*head, box=SIMPLE_HEAD, padding=(0, 1))
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(*row)
    return table

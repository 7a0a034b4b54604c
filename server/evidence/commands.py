"""Commands that weigh a run: before it, after it, and among its like."""

import json
from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One key, such as wire.up=fp16."),
]
Preset = Annotated[
    str, typer.Option(help="Start from a preset by name.", show_default=False)
]
Source = Annotated[
    Path | None, typer.Argument(metavar="CONFIG.toml", help="The run's tables.")
]


def plan(
    config: Source = None,
    *,
    preset: Preset = "",
    override: Override = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GOAL=NUMBER",
            help="Such as bytes=20MB, seconds=30 or memory=2GB: what to change.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Reckon bytes, seconds and memory of a run before anything is trained."""
    from ..runs import load
    from . import limits
    from .plans import Planner

    wanted = [limits.Limit.read(text) for text in limit or ()]
    chosen = load(config, preset=preset or None, overrides=override or ())
    planner = Planner(chosen)
    found = planner.plan()
    over = [one for one in wanted if found[one.goal] > one.most]
    ways = {one.goal: limits.ways(planner, one) for one in over}
    if as_json:
        told = {
            goal: [{"set": dict(way.changes), goal: way.reached} for way in tried]
            for goal, tried in ways.items()
        }
        typer.echo(json.dumps(found | {"limits": told}, indent=2, sort_keys=True))
        return
    from rich.console import Console

    from . import sheets

    console = Console()
    for table in (sheets.goals(found), sheets.clients(found), sheets.memory(found)):
        console.print(table)
    for one in wanted:
        if one.goal in ways:
            console.print(sheets.ways(one, found[one.goal], ways[one.goal]))
        else:
            told_of = f"{one.goal}: within its limit"
            console.print(told_of, highlight=False)

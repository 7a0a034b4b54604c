"""A command that learns how much of each client's update a model is to have."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD


def blend(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")],
    *,
    out: Annotated[Path, typer.Option(help="A folder that is not there yet.")],
    by: Annotated[
        str,
        typer.Option(help="entropy (no labels), loss, or search (needs cma)."),
    ] = "entropy",
    layers: Annotated[
        bool, typer.Option("--layers", help="A coefficient for each layer.")
    ] = False,
    steps: Annotated[int, typer.Option(min=1, help="Steps, or generations.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Learn clients' coefficients on the last round's replies; trains no weight."""
    from .commands import models

    models()
    from ..tables import told
    from .blends import blend as learn
    from .watches import watched

    with watched("steps", quiet=as_json) as tell:
        found = learn(folder, out, by, steps, layers=layers, tell=tell)
    if as_json:
        typer.echo(json.dumps(found, indent=2, sort_keys=True))
        return
    from rich.console import Console
    from rich.table import Table

    names = list(next(iter(found["coefficients"].values())))
    table = Table("client", *names, box=SIMPLE_HEAD)
    for client, own in found["coefficients"].items():
        table.add_row(client, *(f"{own[name]:.3f}" for name in names))
    console, metric = Console(), found["metric"]
    console.print(table)
    for name, value in found["judged"].items():
        console.print(f"{name:8}{told(metric, value)}", highlight=False)
    console.print(str(out / "model"), soft_wrap=True, highlight=False)

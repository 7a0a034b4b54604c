"""A command that puts a finished language model to tasks."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")],
    *,
    tasks: Annotated[
        list[str] | None,
        typer.Option(help="lm-eval's name of a task, or a YAML file; if none, ours."),
    ] = None,
    include: Annotated[
        Path | None, typer.Option(help="A folder of tasks.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows a task; 0: all.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run lm-eval's tasks on a finished language model and its base; no network."""
    from .harnesses import judge

    found = judge(folder, tasks or (), limit, include)
    if as_json:
        typer.echo(json.dumps(found, indent=2, sort_keys=True))
        return
    from rich.console import Console

    console = Console()
    console.print(table(found))
    console.print(f"fedelta report {folder}", soft_wrap=True, highlight=False)


def table(found: Mapping[str, Any]) -> Table:
    """What tasks came to, the base beside the merged model."""
    made = Table("task", "metric", "base", "merged", "error", box=SIMPLE_HEAD)
    for task, models in found["tasks"].items():
        for name, value in models["merged"].items():
            if name.endswith("_stderr"):
                continue
            error = models["merged"].get(f"{name}_stderr")
            shown = f"{models['base'][name]:.4g}", f"{value:.4g}"
            made.add_row(task, name, *shown, "-" if error is None else f"{error:.2g}")
    return made

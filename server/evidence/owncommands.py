"""Commands for models of clients' own: each one's mix, and groups that go together."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .commands import AsJson, models

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A finished run's folder.")]
Metric = Annotated[str, typer.Option(help="eval.metric, if none.", show_default=False)]


def personalise(  # noqa: PLR0913  one argument an option
    folder: Folder,
    *,
    steps: Annotated[
        int, typer.Option(min=0, help="Of own training; 0: train.steps.")
    ] = 0,
    share: Annotated[
        list[float] | None,
        typer.Option(min=0, max=1, help="Of own training that is tried; repeatable."),
    ] = None,
    metric: Metric = "",
    local: Annotated[
        bool, typer.Option(help="Also train each client alone, as long as the run.")
    ] = True,
    texts: Annotated[
        int,
        typer.Option(min=0, help="That choose a mix, and as many that judge; 0: all."),
    ] = 256,
    as_json: AsJson = False,
) -> None:
    """Give each client of a simulation a mix of the global and its own training."""
    models()
    from ...client.personals import FOLDER
    from . import ownsheets, personals
    from .watches import watched

    shares = tuple(share or personals.Asked().shares)
    asked = personals.Asked(steps, shares, metric, local, texts)
    with watched("clients", quiet=as_json) as tell:
        found = personals.personalise(folder, asked, tell)
    if as_json:
        typer.echo(json.dumps(found, indent=2, sort_keys=True))
        return
    from rich.console import Console

    console = Console()
    console.print(ownsheets.personal(found))
    console.print(folder / FOLDER, soft_wrap=True, highlight=False)


def cluster(
    folder: Folder,
    *,
    out: Annotated[Path, typer.Option(help="A folder that is not there yet.")],
    count: Annotated[int, typer.Option("--clusters", min=2, help="How many.")] = 2,
    number: Annotated[
        int, typer.Option("--round", min=0, help="0: the last that is kept.")
    ] = 0,
    metric: Metric = "",
    as_json: AsJson = False,
) -> None:
    """Take clients apart by how alike their updates are; each cluster can go on."""
    models()
    from . import divisions, ownsheets
    from .watches import watched

    with watched("texts judged", quiet=as_json) as tell:
        found = divisions.divide(
            folder, out, count=count, number=number, metric=metric, tell=tell
        )
    if as_json:
        typer.echo(json.dumps(found, indent=2, sort_keys=True))
        return
    from rich.console import Console

    console = Console()
    console.print(ownsheets.divided(found))
    for one in found["clusters"]:
        path = (out / one["name"]).with_suffix(".toml")
        console.print(f"fedelta simulate {path}", soft_wrap=True, highlight=False)


def experts(  # noqa: PLR0913  one argument an option
    folder: Folder,
    *,
    out: Annotated[Path, typer.Option(help="A folder that is not there yet.")],
    steps: Annotated[
        int, typer.Option(min=0, help="Of own training; 0: train.steps.")
    ] = 0,
    top: Annotated[int, typer.Option(min=1, help="Experts a token.")] = 3,
    temperature: Annotated[float, typer.Option(help="Of the router's softmax.")] = 1.0,
    metric: Metric = "",
    as_json: AsJson = False,
) -> None:
    """Train an adapter a client, keep them apart, and route between them by peft."""
    models()
    from . import ownsheets, routers
    from .watches import watched

    how = routers.Routing(top, temperature)
    with watched("clients judged", quiet=as_json) as tell:
        found = routers.keep_apart(
            folder, out, steps=steps, routing=how, metric=metric, tell=tell
        )
    if as_json:
        typer.echo(json.dumps(found, indent=2, sort_keys=True))
        return
    from rich.console import Console

    console = Console()
    console.print(ownsheets.values(found, routers.MODELS))
    console.print(out, soft_wrap=True, highlight=False)

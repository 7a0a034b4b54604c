"""Commands that hold a run to what was merged: verify it, take one contributor out."""

import json
from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A finished run's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Key = Annotated[
    str,
    typer.Option(
        metavar="HEX",
        help="The coordinator's public key, from elsewhere; else the folder's own.",
        show_default=False,
    ),
]


def verify(
    folder: Folder,
    *,
    client: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Only say what was signed of this one's contributions.",
            show_default=False,
        ),
    ] = "",
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Compute every merge again from the sealed replies; say equal, or where not.

    Exits with 1 where a round is not equal, or could not be computed.
    """
    from dataclasses import asdict

    from . import verifications

    if client:
        told = verifications.included(folder, client, key)
        lines = [
            f"round {one['round']}: {one['verdict']}"
            + (f" ({one['reason']})" if one["reason"] else f", {one['digest']}")
            for one in told
        ]
        typer.echo(json.dumps(told, indent=2) if as_json else "\n".join(lines))
        return
    found = verifications.verify(folder, key)
    lines = [
        f"round {one.round}: {one.verdict}{': ' if one.detail else ''}{one.detail}"
        for one in found
    ]
    rows = [asdict(one) for one in found]
    typer.echo(json.dumps(rows, indent=2) if as_json else "\n".join(lines))
    if any(one.verdict != verifications.EQUAL for one in found):
        raise typer.Exit(1)


def withdraw(
    folder: Folder,
    *,
    client: Annotated[
        str, typer.Option(metavar="NAME", help="Whose contributions are left out.")
    ],
    first: Annotated[
        int, typer.Option("--from", metavar="ROUND", min=1, help="From this round on.")
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Merge a run again without one contributor; say what changes, and what not."""
    from .withdrawals import FOLDER, withdraw

    found = withdraw(folder, client, first)
    if as_json:
        typer.echo(json.dumps(found, indent=2, sort_keys=True))
        return
    for one in found["rounds"]:
        moved = (
            f", update moved by {one['moved']:.3g} of its length"
            if "moved" in one
            else ""
        )
        left = "left out" if one["left_out"] else "was not there"
        typer.echo(f"round {one['round']}: {left}, {one['replies']} merged{moved}")
    for name, value in found["metrics"]["without"].items():
        typer.echo(f"{name}: {value:.4g}, was {found['metrics']['with'][name]:.4g}")
    typer.echo(f"the model moved by {found['moved']:.3g} of what the run changed")
    typer.echo(found["note"])
    typer.echo(f"written: {folder / FOLDER / client}")

"""`fedelta join ...`: the institution's commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from .folders import JoinFolder

app = typer.Typer(help="Take part in a federation.", no_args_is_help=True)

Root = Annotated[Path, typer.Argument(metavar="DIR", help="The institution's folder.")]


def _folder(root: Path) -> "JoinFolder":
    """An existing folder; imported here so that `--help` starts at once."""
    from .folders import JoinFolder

    return JoinFolder.open(root)


@app.command()
def init(
    root: Root,
    *,
    name: Annotated[str, typer.Option(help="Who you are.")] = "institution",
    data: Annotated[str, typer.Option(help="Your data file.")] = "",
    invitation: Annotated[
        Path | None, typer.Option(help="The coordinator's answer, once it is there.")
    ] = None,
) -> None:
    """Make a key and your own file; later, take the coordinator's answer in."""
    from .keys import fingerprint
    from .layouts import accept, create

    if invitation is not None:
        folder = _folder(root)
        accept(folder, invitation)
        who = folder.invitation
        typer.echo(
            f"you are {who.name} in {who.federation}: `fedelta join check {root}`"
        )
        return
    folder = create(root, name, data)
    typer.echo(f"send {folder.public} to the coordinator, and nothing else")
    seen = fingerprint(folder.public.read_text())
    typer.echo(f"its fingerprint, to compare by telephone: {seen}")
    typer.echo(f"then write down what you agree to in {folder.root / 'join.toml'}")


@app.command()
def up(root: Root) -> None:
    """Run the node until told to stop."""
    from .nodes import port_of
    from .nodes import up as run

    folder = _folder(root)
    run(folder, typer.echo, port_of(folder))


@app.command()
def check(root: Root) -> None:
    """Look whether everything is right: ticks, and crosses with what to do."""
    from .checks import check as run

    failed = 0
    for one in run(_folder(root)):
        typer.echo(f"{'✓' if one.good else '✗'} {one.what}: {one.said}")
        failed += not one.good
    if failed:
        raise typer.Exit(1)


@app.command()
def peers(
    root: Root,
    *,
    pin: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="Their public line; may be repeated."),
    ] = None,
) -> None:
    """Print your signing key for masked rounds, or pin those of the others."""
    from . import peers as known

    folder = _folder(root)
    for text in pin or ():
        name, _, file = text.partition("=")
        known.pin(folder, name, Path(file))
        typer.echo(f"{name} is pinned in {folder.peers}: compare it by telephone")
    if not pin:
        typer.echo(known.line(folder))


@app.command()
def included(
    root: Root,
    lines: Annotated[
        Path, typer.Argument(metavar="LINES", help="A run's provenance.jsonl.")
    ],
    *,
    key: Annotated[
        str,
        typer.Option(metavar="HEX", help="The coordinator's key; else the one beside."),
    ] = "",
) -> None:
    """Look whether your contributions are in a run's lines, as you signed them."""
    from .inclusions import inclusions

    found = list(inclusions(_folder(root), lines, key))
    for one in found:
        typer.echo(f"{'✓' if one.good else '✗'} {one.what}: {one.said}")
    if not found:
        typer.echo("no line speaks of you, and nothing of this run was signed here")
    if not found or not all(one.good for one in found):
        raise typer.Exit(1)


@app.command()
def status(
    root: Root,
    *,
    run: Annotated[str, typer.Option(help="Which run; the newest without it.")] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Stay, and tell what happens.")
    ] = False,
) -> None:
    """Runs, verdicts on what you sent, the privacy spent, and with -f what happens."""
    from .hints import CLIENT
    from .reports import ledger, line_of, overview, verdicts
    from .statuses import status as asking

    folder = _folder(root)
    with asking(folder) as asked:
        seen = asked.overview()
        for text in overview(seen):
            typer.echo(text)
        if not seen.runs:
            return
        for text in verdicts(asked.verdicts(run), str(folder.logs / CLIENT)):
            typer.echo(text)
        for text in ledger(asked.watch(run, follow=False)):
            typer.echo(text)
        for event in asked.watch(run) if follow else ():
            typer.echo(line_of(event))


@app.command()
def pull(
    root: Root,
    *,
    run: Annotated[str, typer.Option(help="Which run; the newest without it.")] = "",
) -> None:
    """Fetch a run's released model into DIR/models."""
    from .statuses import status as asking

    folder = _folder(root)
    with asking(folder) as asked:
        name = asked.releases(run).run
        found = asked.pull(folder.models / name, run)
    typer.echo(f"{len(found)} files are in {folder.models / name}")

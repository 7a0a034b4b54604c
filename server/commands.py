"""Commands around runs: begin one from data, merge one again, compare several."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Data files, one a client.")
    ] = Path(),
    *,
    out: Annotated[Path, typer.Option(help="The configuration to write.")] = Path(
        "federation.toml"
    ),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what each client has; write nothing.")
    ] = False,
) -> None:
    """Write a commented configuration from what lies in a folder of data."""
    from rich.console import Console
    from rich.table import Table

    from ..client.data import load as read
    from . import drafts, files, runs

    if not dry_run:
        files.unused(out)
    text = drafts.draft(folder)
    with tempfile.TemporaryDirectory() as there:
        trial = Path(there) / out.name
        trial.write_text(text, encoding="utf-8")
        chosen = runs.load(trial)
        task = read(chosen)
    table = Table("client", "region", "training", "validation", "mostly")
    for row in drafts.rows(task):
        table.add_row(*row)
    console = Console()
    console.print(table)
    told = f"{len(task.clients)} clients, {len(task.labels)} classes or domains, "
    console.print(f"{told}{len(task.test)} test examples", highlight=False)
    console.print(f"learned: {drafts.learned(chosen)}", highlight=False)
    if not dry_run:
        files.write(out, text.encode())
        console.print(f"wrote {out}: fedelta simulate {out}", highlight=False)


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")],
    *,
    serve: Annotated[
        bool,
        typer.Option(help="Show it in the browser while the run goes on; no file."),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0: a free one.")
    ] = 8787,
) -> None:
    """Write DIR/report.html from what the run recorded; or show it as it grows."""
    if not serve:
        from .report import write

        typer.echo(write(folder))
        return
    import time

    from ..client.joins.runtimes import stopping
    from .broadcasts import broadcast

    with stopping() as stop, broadcast(folder, port) as where:
        typer.echo(f"{where} shows {folder}; Ctrl-C ends it")
        while not stop():
            time.sleep(0.2)


def replay(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")],
    *,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help='Such as "ties(density=0.2)" or "fedavg @ factors"; repeatable.',
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--every", help="Every recipe, as it is without knobs.")
    ] = False,
    rounds: Annotated[
        list[int] | None, typer.Option("--round", min=1, help="Only this round.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Merge a run's replies again by other recipes and judge each; no training."""
    from ..aggregators.recipes import METHODS
    from .evidence.watches import Replays
    from .replays import replay as play

    asked, refused = list(recipe or ()), dict[str, str]()
    asked += [name for name in METHODS if every and name not in asked]
    telling = refused if every else None
    heard = () if as_json else (Replays(len(asked)),)
    found = play(folder, asked, rounds=rounds or (), listeners=heard, refused=telling)
    if as_json:
        typer.echo(json.dumps(found, indent=2, sort_keys=True))
        return
    from rich.console import Console

    from .tables import replay_table

    console = Console()
    console.print(replay_table(found))
    for text, why in refused.items():
        console.print(f"left out: {text}: {why}", soft_wrap=True, highlight=False)
    console.print(found[0]["replay"]["note"], soft_wrap=True, highlight=False)
    console.print(f"fedelta compare {folder}", soft_wrap=True, highlight=False)


def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Runs or replays.")
    ],
    *,
    out: Annotated[
        Path | None, typer.Option(help="The page; compare.html in the first DIR.")
    ] = None,
    metric: Annotated[str, typer.Option(help="Told first.", show_default=False)] = "",
) -> None:
    """Put several runs or replays on one page, pair by pair."""
    from rich.console import Console

    from .comparisons import answer, write
    from .tables import plain

    path = write(folders, out, metric)
    Console().print(plain(answer(folders, metric)))
    typer.echo(path)


def inspect(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A payload, a state or a snapshot.")
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Say what is in a file that travelled, and how small it is."""
    from .inspection import inspect as look

    found = look(file)
    if as_json:
        typer.echo(json.dumps(found, indent=2, sort_keys=True))
        return
    from rich.console import Console

    from .tables import inspection_table

    Console().print(inspection_table(found))

"""The command line: ask for a run, go on with one, look at one, merge files.

Exit codes: 0 done, 2 asked for wrongly, 3 too few replies or no budget left, 1
anything else. What is heavy is imported where a command needs it, so that
``--help`` and ``merge`` start at once.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .. import __version__
from ..client import logs
from ..client.joins.commands import app as join_commands
from ..protocols.errors import ConfigError, FedeltaError, RoundError
from . import epilogs
from .commands import compare, init, inspect, replay, report
from .custodies import verify, withdraw
from .evidence.blendcommands import blend
from .evidence.commands import diagnose, export, plan, search
from .evidence.owncommands import cluster, experts, personalise
from .evidence.taskcommands import evaluate
from .hosts.commands import app as host_commands
from .regions.commands import app as region_commands

app = typer.Typer(
    help="Federated fine-tuning whose aggregation is a merge.",
    epilog="Begin with: fedelta plan --preset icd10, then fedelta simulate --preset "
    "icd10 (docs/tutorial.md). Each command's --help ends with how it is typed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    suggest_commands=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Override = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One key, such as wire.up=fp16."),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Worker processes; 0: in this process.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")]


def _version(wanted: bool) -> None:  # noqa: FBT001 -- typer's callbacks are positional
    if wanted:
        typer.echo(f"fedelta {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say which."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error came from.")
    ] = False,
    log: Annotated[
        str, typer.Option(help='Logs as "text" or "json".', show_default=False)
    ] = "",
) -> None:
    """What every command takes (`main` reads the last two wherever they stand)."""


def simulate(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG.toml", help="The run's tables.")
    ] = None,
    *,
    preset: Annotated[
        str, typer.Option(help="Start from a preset by name.", show_default=False)
    ] = "",
    override: Override = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="run.rounds")] = None,
    out: Annotated[Path | None, typer.Option(help="run.out: the run's folder.")] = None,
    seed: Annotated[int | None, typer.Option(help="run.seed")] = None,
    engine: Annotated[
        str, typer.Option(help='"in-process" or "flower".', show_default=False)
    ] = "",
    central: Annotated[
        bool, typer.Option("--central", help="Also train on all data as long.")
    ] = False,
    workers: Workers = 2,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a whole federation on this machine."""
    from .runs import load

    options = {
        "run.rounds": rounds,
        "run.out": out,
        "run.seed": seed,
        "run.engine": engine or None,
    }
    chosen = [f"{key}={value}" for key, value in options.items() if value is not None]
    chosen += ["eval.central=true"] if central else []
    asked = load(config, preset=preset or None, overrides=[*(override or []), *chosen])
    from .simulations import simulate as run

    folder = Path(asked.run.out)
    began = time.perf_counter()
    with _view(quiet=quiet, as_json=as_json) as view:
        summary = run(asked, workers=workers, listeners=[view])
    seconds = time.perf_counter() - began
    _close(folder, summary, seconds, quiet=quiet, as_json=as_json)


def resume(
    folder: Folder,
    *,
    workers: Workers = 2,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was stopped, from its last finished round."""
    from .simulations import resume as run

    began = time.perf_counter()
    with _view(quiet=quiet, as_json=as_json) as view:
        summary = run(folder, workers=workers, listeners=[view])
    seconds = time.perf_counter() - began
    _close(folder, summary, seconds, quiet=quiet, as_json=as_json)


def methods(*, as_json: AsJson = False) -> None:
    """List the merges: what each needs and which properties it keeps."""
    from ..aggregators.recipes import describe

    known = describe()
    if as_json:
        typer.echo(json.dumps(known, indent=2, sort_keys=True))
        return
    from rich.console import Console

    from .listings import method_tables

    for table in method_tables(known):
        Console().print(table)


def merge(
    models: Annotated[
        list[Path] | None,
        typer.Argument(metavar="MODEL...", help=".safetensors files or model folders."),
    ] = None,
    *,
    recipe: Annotated[
        str,
        typer.Option(
            help='Such as "ties(density=0.2)"; or a file of mergekit\'s YAML, which '
            "names its models; or a receipt (...fedelta-merge.json), to merge again."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where the merged model goes.")],
    base: Annotated[
        Path | None,
        typer.Option(help="What the models were tuned from; a mean needs none."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="1,1", help="One number a model.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of a recipe that draws.")] = 0,
    rank: Annotated[
        int, typer.Option(min=0, help="Of merged adapters; 0: as high as it takes.")
    ] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model that is there.")
    ] = False,
) -> None:
    """Merge fine-tuned models (no server, no torch), and leave a receipt."""
    from ..aggregators import receipts

    if not overwrite and (out.is_file() or any(out.glob("*"))):
        from . import files

        files.unused(out, more=", or add --overwrite")
    file = Path(recipe)
    if recipe.endswith(receipts.NAME):
        receipts.repeat(file, out)
    elif file.suffix in (".yaml", ".yml"):
        text, folder = receipts.text(file), file.absolute().parent
        receipts.run(receipts.Job(text, [folder], seed=seed, sheet=True), out)
    else:
        given = models or []
        job = receipts.Job(recipe, given, base, _numbers(weights), seed, rank=rank)
        if (cut := receipts.run(job, out)) > 1e-6:  # noqa: PLR2004  rounding
            typer.echo(f"the rank cut off {cut:.1%} of the merged products", err=True)
    typer.echo(out)


_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "A run": (init, plan, simulate, resume, report),
    "After it": (compare, replay, diagnose, evaluate, search),
    "Models": (methods, merge, export, blend, personalise, cluster, experts),
    "Proof": (verify, withdraw, inspect),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
for _name, _group in (
    ("host", host_commands),
    ("join", join_commands),
    ("region", region_commands),
):
    app.add_typer(_group, name=_name, rich_help_panel="Between institutions")
epilogs.finish(app)


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--weights {text}: give numbers such as 1,0.5") from None


def _view(*, quiet: bool, as_json: bool) -> Any:
    from .views import view

    return view(quiet=quiet, errors=as_json)


def _close(
    folder: Path, summary: dict[str, Any], seconds: float, *, quiet: bool, as_json: bool
) -> None:
    """Write the report, then say what was gained and where it is."""
    from .report import missing, write

    lacking = missing()
    where = None if lacking else write(folder)
    if as_json:
        typer.echo(json.dumps(summary, indent=2, sort_keys=True))
    elif not quiet:
        from rich.console import Console

        from .tables import closing_lines, closing_table

        console = Console()
        console.print(closing_table(summary))
        for line in closing_lines(summary, folder, where, seconds):
            console.print(line, soft_wrap=True, highlight=False)
    if lacking and not quiet:
        _say(f"no report: {lacking}")


def _say(text: str) -> None:
    print("fedelta:", " ".join(text.split()), file=sys.stderr)


def _fail(error: Exception, code: int, *, debug: bool) -> NoReturn:
    if debug:
        raise error
    ours = isinstance(error, FedeltaError) and str(error)
    _say(str(error) if ours else f"{type(error).__name__}: {error}")
    sys.exit(code)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: the words after the program's name; None: this process's.

    Raises:
        SystemExit: with the exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        rest, form = logs.taken([word for word in given if word != "--debug"])
        logs.choose(form)
        app(rest, prog_name="fedelta")
    except ConfigError as error:
        _fail(error, 2, debug=debug)
    except RoundError as error:
        _fail(error, 3, debug=debug)
    except Exception as error:  # noqa: BLE001 -- the last resort: one line, code 1
        _fail(error, 1, debug=debug)


if __name__ == "__main__":
    main()

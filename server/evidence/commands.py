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


def models() -> None:
    """See that models can be looked at here: a bare coordinator has no torch."""
    from importlib.util import find_spec

    from ...protocols.errors import ConfigError

    if find_spec("torch") is None or find_spec("transformers") is None:
        raise ConfigError('this looks at the model: pip install "fedelta[client]"')


def plan(
    config: Source = None,
    *,
    preset: Preset = "",
    override: Override = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GOAL=NUMBER",
            help="Such as bytes=20MB, seconds=30, memory=2GB or epsilon=4: what to "
            "change.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Reckon bytes, seconds and memory of a run before anything is trained.

    Ends with 1 where a limit is not kept.
    """
    models()
    from ..runs import load
    from . import limits
    from .plans import Planner
    from .watches import watched

    wanted = [limits.Limit.read(text) for text in limit or ()]
    chosen = load(config, preset=preset or None, overrides=override or ())
    with watched("clients reckoned", quiet=as_json) as tell:
        planner = Planner(chosen)
        found = planner.plan(tell=tell)
    over = [one for one in wanted if one.reached(found) > one.most]
    if as_json:
        ways = {one.goal: limits.ways(planner, one) for one in over}
        told = {
            goal: [{"set": dict(way.changes), goal: way.reached} for way in tried]
            for goal, tried in ways.items()
        }
        typer.echo(json.dumps(found | {"limits": told}, indent=2, sort_keys=True))
        raise typer.Exit(bool(over))
    from rich.console import Console

    from . import sheets

    console = Console()
    for table in (sheets.goals(found), sheets.clients(found), sheets.memory(found)):
        console.print(table)
    for one in wanted:
        if one in over:  # what to change is planned too: that takes longer
            with watched("changes planned") as tell:
                other = limits.ways(planner, one, tell)
            console.print(sheets.ways(one, one.reached(found), other))
        else:
            told_of = f"{one.goal}: within its limit"
            console.print(told_of, highlight=False)
    raise typer.Exit(bool(over))


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")],
    *,
    to: Annotated[str, typer.Option(help="peft, transformers or mergekit.")],
    out: Annotated[Path, typer.Option(help="A folder that is not there yet.")],
    as_json: AsJson = False,
) -> None:
    """Take a finished run's model home, with its record on a card."""
    models()
    from .takeaways import take

    found = take(folder, to, out)
    if as_json:
        typer.echo(json.dumps(found, indent=2, sort_keys=True))
        return
    typer.echo(out)
    for key, value in found.items():
        if key not in ("kind", "out", "written"):
            typer.echo(f"{key:8}{_said(value)}", err=True)


def _said(value: object) -> str:
    """What an export says of itself, in words."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _parted(text: str) -> tuple[str, str, str]:
    from ...protocols.errors import ConfigError

    if not all(text.partition("=")):
        raise ConfigError(f"--beside {text}: write it as NAME=FILE")
    return text.partition("=")


def diagnose(  # noqa: PLR0913  one argument an option
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")],
    *,
    number: Annotated[
        int, typer.Option("--round", min=0, help="0: the last that is kept.")
    ] = 0,
    probe: Annotated[int, typer.Option(min=2, help="Texts of the public probe.")] = 64,
    texts: Annotated[
        int,
        typer.Option(
            help="Of each client's that models are judged on (of the test set four "
            "times as many); 0: all. If none, 64; of a language model 8.",
            show_default=False,
        ),
    ] = -1,
    metric: Annotated[
        str, typer.Option(help="Of clients' tasks.", show_default=False)
    ] = "",
    beside: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Texts from elsewhere, labelled as the run's: all models are judged.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a round's models merge, and what each client got; no training."""
    models()
    from .diagnoses import Asked
    from .diagnoses import diagnose as look
    from .watches import watched

    sets = {name: Path(path) for name, _, path in map(_parted, beside or ())}
    asked = Asked(number, probe, metric, sets, texts)
    with watched("texts judged", quiet=as_json) as tell:
        found = look(folder, asked, tell)
    if as_json:
        typer.echo(json.dumps(found, indent=2, sort_keys=True))
        return
    from rich.console import Console

    from . import findings

    console = Console()
    for part in findings.diagnosis(found):
        console.print(part, highlight=False)
    console.print(f"fedelta report {folder}", soft_wrap=True, highlight=False)


def search(  # noqa: PLR0913  one argument an option
    config: Source = None,
    *,
    preset: Preset = "",
    override: Override = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=...",
            help="What is varied: NAME=A; B or NAME=LOW..HIGH [log]; NAME is a key, or "
            "stands in braces in another one's texts.",
        ),
    ] = None,
    budget: Annotated[int, typer.Option(min=1, help="Trials in all.")] = 20,
    sampler: Annotated[
        str, typer.Option(help="random, grid, optuna or cma.")
    ] = "random",
    halving: Annotated[
        bool, typer.Option("--halving", help="Few rounds first, more for the better.")
    ] = False,
    metric: Annotated[
        str, typer.Option(help="eval.metric, if none.", show_default=False)
    ] = "",
    also: Annotated[
        list[str] | None,
        typer.Option(help="bytes, worst or epsilon: what else optuna is to lower."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="A finished run: vary from it, merge its replies."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The search's folder; the run's with \"-search\" if none."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Worker processes.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Try settings, on the same replies where only the merge differs; resumable."""
    models()
    from ...protocols.errors import ConfigError
    from ..runs import load
    from . import explorations

    if run is None:
        chosen = load(config, preset=preset or None, overrides=override or ())
        out = out or explorations.beside(Path(chosen.run.out))
    elif config or preset or override:
        raise ConfigError(
            "--run has its settings: leave out the file, preset and --set"
        )
    else:
        out = out or explorations.beside(run)
        chosen = explorations.of_run(run, out)
    wanted = metric or chosen.eval.metric
    asked = explorations.Asked(
        over or (), budget, sampler, wanted, halving, run, also or ()
    )
    explorations.explore(chosen, asked, out, workers, as_json=as_json)

"""A search as it is asked for on the command line, and what is said of it."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console

from ...protocols.errors import ConfigError
from ...protocols.settings import Config
from .. import recordings, views
from . import crews, pages, samplers, sheets, variables
from .fronts import front, written
from .searches import GOALS, TRIALS, Search, Trial


@dataclass(frozen=True, slots=True)
class Asked:
    """What a search is to do.

    Attributes:
        over: what is varied, as `variables.Variable.read` takes it.
        budget: trials in all.
        sampler: who says what is tried next.
        metric: what is to be good.
        halving: few rounds first, more for the better half.
        run: a finished run whose replies are merged where only the merge is varied.
        goals: what else is to be good, of `searches.GOALS`.
    """

    over: Sequence[str]
    budget: int
    sampler: str
    metric: str
    halving: bool = False
    run: Path | None = None
    goals: Sequence[str] = ()


def beside(run: Path) -> Path:
    """A search's folder, where none is named.

    Example:
        >>> beside(Path("runs/mine/")).as_posix()
        'runs/mine-search'
    """
    run = run.absolute() if not run.name else run
    return run.with_name(f"{run.name}-search")


def of_run(folder: Path, out: Path) -> Config:
    """A finished run's settings, for a run beside it in a search's folder.

    Raises:
        ConfigError: the folder holds no finished run.
    """
    config = recordings.Recording.read(folder).config
    return replace(config, run=replace(config.run, out=str(out / "best")))


def _free(out: Path) -> None:
    """Refuse a folder that holds something else than a search.

    Raises:
        ConfigError: it does.
    """
    if (out / TRIALS).exists() or not out.exists():
        return
    if not out.is_dir() or {one.name for one in out.iterdir()} - {"runs"}:
        raise ConfigError(f"{out} holds no search: choose another folder by --out")


def _check(asked: Asked) -> None:
    """Refuse what no sampler can do.

    Raises:
        ConfigError: the message names the option.
    """
    if strange := sorted(set(asked.goals) - set(GOALS)):
        raise ConfigError(f"--also {strange[0]}: it is one of {', '.join(GOALS)}")
    if asked.halving and asked.sampler == "cma":
        raise ConfigError(
            "--halving draws all trials before the first is judged: cma would learn "
            "nothing; take --sampler random, grid or optuna"
        )
    if asked.halving and any(one.startswith("run.rounds=") for one in asked.over):
        raise ConfigError("--halving sets run.rounds: leave it out of --over")


def _lent(search: Search, folder: Path) -> None:
    """Have a search take a finished run's replies where only the merge is varied."""
    place = search.folder({})
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(folder.resolve(), target_is_directory=True)


def explore(
    config: Config, asked: Asked, out: Path, workers: int, *, as_json: bool
) -> Path:
    """Search, telling every trial, and write the best settings.

    Args:
        config: what is varied from.
        asked: how, and how long.
        out: the search's folder.
        workers: processes that run clients.
        as_json: print JSON alone.

    Returns:
        Where the best settings are.

    Raises:
        ConfigError: what is asked for cannot be, or nothing could be used.
    """
    _free(out)
    _check(asked)
    varied = variables.read(asked.over)
    made = samplers.sampler(asked.sampler, varied, config.run.seed, asked.goals)
    console = Console(stderr=True)

    def tell(one: Trial) -> None:
        if not as_json:
            text = sheets.trial(one.settings, one.value, asked.metric, one.said)
            total = "" if asked.halving else f"/{asked.budget}"  # rungs come on top
            count = f"{len(search.done)}{total}"
            console.print(f"{count}  {text}", highlight=False, markup=False)

    heard = () if as_json else (views.Lines(console),)
    search = Search(config, out, asked.metric, workers, tell, heard, asked.goals)
    if asked.run is not None:
        _lent(search, asked.run)
    try:
        found = _found(search, made, asked)
    finally:
        search.close()
    path = written(search, found)
    best = front(search.done, asked.metric)
    pages.page(out, search.done, best, asked.metric, asdict(config))
    if as_json:
        told = {"best": asdict(found[0]), "config": str(path)}
        sys.stdout.write(json.dumps(told, indent=2, sort_keys=True) + "\n")
    else:
        Console().print(sheets.trials([asdict(one) for one in found], asked.metric))
        Console().print(f"fedelta simulate {path}", soft_wrap=True, highlight=False)
    return path


def _found(search: Search, made: samplers.Sampler, asked: Asked) -> list[Trial]:
    if not asked.halving and asked.sampler not in samplers.UNTAUGHT:
        return search.run(made, asked.budget)
    drawn = (made.ask() for _ in range(asked.budget))
    some = [variables.settings(one) for one in drawn if one is not None]
    if asked.halving:
        return search.halved(some)
    crews.fill(search, some)
    again = samplers.sampler(
        asked.sampler, variables.read(asked.over), search.config.run.seed
    )
    return search.run(again, asked.budget)

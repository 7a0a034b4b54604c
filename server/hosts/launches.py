"""`fedelta host run`: hand a configuration to SuperLink and follow the run."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...aggregators.branches import climbs
from ...aggregators.recipes import recipe
from ...client.joins.runtimes import program
from ...protocols.errors import ConfigError, FedeltaError
from ...protocols.settings import Client, Config
from .. import files
from ..records import Line, read
from ..regions.trees import routes
from ..runs import config_json
from . import controls, rosters, services
from .folders import HostFolder

FINISHED = "finished"
PATIENCE = 120.0
"""Seconds that SuperLink may be away while a run is followed."""


def hosted(folder: HostFolder, config: Config) -> Config:
    """The run as this host runs it.

    Every active member takes part unless [[clients]] names some; baselines that would
    need their data are off; the run's folder is in the host's.

    Raises:
        ConfigError: the run cannot be hosted; the message names the key.
    """
    if not config.data.labels:
        raise ConfigError(
            "data.labels must list the classes: the coordinator has no data to find "
            "them in"
        )
    if config.eval.central:
        raise ConfigError("eval.central needs all data in one place: set it to false")
    admitted = rosters.active(folder.roster)
    clients = config.clients or tuple(Client(name) for name in sorted(admitted))
    ways = routes({one.name: one.region for one in clients}, admitted)
    if strangers := [n for n, way in ways.items() if not way and n not in admitted]:
        raise ConfigError(f"not on the roster: {', '.join(strangers)}")
    if any(ways.values()):
        _climbs(config)
    if not clients:
        raise ConfigError(
            "nobody is admitted yet: `fedelta host admit KEY.pub --name NAME`"
        )
    test = config.data.test if isinstance(config.data.test, str) else 0.0
    if isinstance(test, str) and test:
        test = str(Path(test).absolute())
    return replace(
        config,
        clients=tuple(replace(one, data="") for one in clients),
        data=replace(config.data, source="", test=test),
        eval=replace(config.eval, local=False),
        run=replace(config.run, out=f"runs/{Path(config.run.out).name}"),
    )


def _climbs(config: Config) -> None:
    """See that states can climb, where they are to, and rounds go through regions.

    Raises:
        ConfigError: they cannot; the message names the keys.
    """
    if config.round.mode == "async" or config.round.late == "keep":
        raise ConfigError(
            'a region answers once a round: set round.mode = "sync" and round.late = '
            '"refuse", or have its clients join the coordinator itself'
        )
    lora, space = config.train.mode == "lora", config.lora.space
    chosen = recipe(config.merge.recipe)
    if config.merge.tree == "regions" and not climbs(chosen, space, lora=lora):
        raise ConfigError(
            f'merge.tree = "regions": a state of {config.merge.recipe} in lora.space = '
            f'"{space}" grows with the clients. Use merge.tree = "flat" (regions hand '
            'replies on as they came: the same model), or lora.space = "frozen-a" with '
            "a recipe that adds"
        )


def start(folder: HostFolder, config: Config) -> int:
    """Start one of Flower's runs with a configuration that `hosted` gave.

    Returns:
        Flower's run id.

    Raises:
        FedeltaError: SuperLink does not take it.
    """
    out = folder.root / config.run.out
    out.mkdir(parents=True, exist_ok=True)
    given = folder.state / f"{out.name}.run.toml"
    files.write(given, f"config = {json.dumps(config_json(config))}\n".encode())
    command = [program("flwr"), "run", str(folder.app), "host"]
    done = subprocess.run(  # noqa: S603  our own arguments
        [*command, "--run-config", str(given), "--format", "json"],
        env={**os.environ, **services.environment(folder)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    said = _json(done.stdout)
    if done.returncode or not said.get("success"):
        what = said.get("error-message") or done.stderr or done.stdout
        raise FedeltaError(
            f"SuperLink did not take the run: {str(what).strip()[-500:]}"
        )
    return int(said["run-id"])


def follow(
    folder: HostFolder, config: Config, run_id: int, tell: Callable[[Line], None]
) -> dict[str, Any]:
    """Hand on the record's lines until the run has ended.

    Returns:
        What is in `summary.json`.

    Raises:
        FedeltaError: the run ended without one, or SuperLink stays away; the message
            says why.
    """
    out = folder.root / config.run.out
    said, heard = 0, time.monotonic()
    while True:
        try:
            ended, heard = _ended(folder, run_id), time.monotonic()
        except FedeltaError:  # SuperLink died and is started again
            ended = ""
            if time.monotonic() - heard > PATIENCE:
                raise
        lines = read(out / "record.jsonl") if (out / "record.jsonl").exists() else []
        for line in lines[min(said, len(lines)) :]:
            tell(line)
        said = len(lines)
        if ended:
            break
        time.sleep(1.0)
    if not (out / "summary.json").exists():
        raise FedeltaError(
            f"the run ended: {ended}. Its log is {folder.logs}/server.log; "
            "the same `fedelta host run` goes on after its last round"
        )
    return files.read_json(out / "summary.json")


def _ended(folder: HostFolder, run_id: int) -> str:
    """How one of Flower's runs ended; empty while it has not."""
    for run in controls.runs(folder):
        if run.run_id == run_id:
            status = run.status
            over = status.status == FINISHED
            return f"{status.sub_status} {status.details}".strip() if over else ""
    return "SuperLink does not know it"


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text[text.index("{") :])
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

"""A whole federation on this machine: run it, or go on with one that was stopped."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..protocols.errors import ConfigError
from ..protocols.settings import Config
from . import environments, files
from .journal import Journal, stem_of
from .records import Listener
from .runs import config_from_json, config_json

if TYPE_CHECKING:
    from flwr.app import Context
    from flwr.serverapp import Grid

CONFIG, SUMMARY = "config.json", "summary.json"


def simulate(
    config: Config, *, workers: int = 2, listeners: Sequence[Listener] = ()
) -> dict[str, Any]:
    """Run a federation in `config.run.out`.

    Args:
        config: as `fedelta.server.runs.load` gives it.
        workers: processes that run clients; 0: this process does. The result is the
            same with any number.
        listeners: called with every line of the record as it is written.

    Returns:
        What is in `summary.json`.

    Raises:
        ConfigError: the folder holds a run or a model already, or the run cannot be
            started.
        QuorumError: too few clients gave a usable reply.
    """
    folder = Path(config.run.out)
    if (folder / CONFIG).exists():
        raise ConfigError(
            f"{folder} holds a run already: go on with it by `fedelta resume {folder}` "
            "or choose another folder by --out"
        )
    if (folder / "model").exists():
        raise ConfigError(
            f"{folder} holds a model that is no run's, where this run would put its "
            "own: choose another folder by --out"
        )
    journal = Journal(folder, config.journal.keep)
    journal.hold()
    try:
        files.write_json(folder / CONFIG, asdict(config))
        return _run(config, journal, workers, listeners)
    except BaseException:
        if journal.last() is None:  # nothing to go on from: the folder stays free
            (folder / CONFIG).unlink(missing_ok=True)
        raise
    finally:
        journal.release()


def resume(
    folder: Path, *, workers: int = 2, listeners: Sequence[Listener] = ()
) -> dict[str, Any]:
    """Go on with a run after its last committed round; sealed replies are kept.

    A finished run is left as it is and its summary returned.

    Raises:
        ConfigError: the folder holds no run, or another process works in it.
        CheckpointError: what is on disk cannot be resumed from.
    """
    folder = Path(folder)
    if not (folder / CONFIG).exists():
        raise ConfigError(f"{folder} holds no run: there is no {CONFIG} in it")
    config = config_from_json(json.dumps(files.read_json(folder / CONFIG)))
    config = replace(config, run=replace(config.run, out=str(folder)))
    journal = Journal(folder, config.journal.keep)
    journal.hold()
    try:
        if (folder / SUMMARY).exists():
            return files.read_json(folder / SUMMARY)
        return _run(config, journal, workers, listeners)
    finally:
        journal.release()


def _run(
    config: Config, journal: Journal, workers: int, listeners: Sequence[Listener]
) -> dict[str, Any]:
    environments.prepare()
    (journal.folder / "clients").mkdir(mode=0o700, exist_ok=True)
    if config.run.engine == "flower":
        from . import flowers

        journal.release()  # the server app, another process, will hold it
        return flowers.run(config, journal.folder, workers=workers, listeners=listeners)
    from flwr.app import Context, RecordDict
    from flwr.serverapp import ServerApp

    from ..client.data import load
    from .coordination import coordinate
    from .engine import InProcessGrid

    environments.prepare()  # importing Flower sets its log's level
    clients = journal.folder / "clients"
    states = {name: clients / stem_of(name) for name in load(config).clients}
    given = {"config": config_json(config)}
    result: dict[str, Any] = {}
    app = ServerApp()

    @app.main()
    def main(grid: "Grid", context: "Context") -> None:  # noqa: ARG001  Flower's
        result.update(coordinate(grid, config, journal, listeners))

    logs = journal.folder / "logs"
    with InProcessGrid(states, given, workers=workers, logs=logs) as grid:
        app(grid, Context(1, 1, {}, RecordDict(), dict(given)))
    return result

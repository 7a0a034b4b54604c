"""The server app of a hosted run: the same rounds, over SuperLink's grid.

It runs in the host's folder (SuperExec's working folder), where the roster says which
node speaks for whom. A run that was killed goes on where its journal is when it is
started again: Flower's run is a new one, ours is the same.
"""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from ...protocols.errors import ConfigError
from .. import environments, files
from ..coordination import coordinate
from ..journal import Journal
from ..runs import config_from_json, config_json
from . import controls, rosters
from .folders import HostFolder
from .grids import HostGrid

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run, or go on with, the federation that the configuration describes."""
    text = context.run_config.get("config")
    if not isinstance(text, str):
        raise ConfigError("the run configuration holds no `config`")
    config = config_from_json(text)
    folder = HostFolder.open(Path.cwd())
    environments.prepare()
    admitted = rosters.active(folder.roster)
    asked = [one.name for one in config.clients]
    if strangers := sorted(set(asked) - admitted.keys()):
        raise ConfigError(f"not on the roster: {', '.join(strangers)}")
    journal = Journal(folder.root / config.run.out, config.journal.keep)
    journal.hold()
    try:
        files.write(journal.folder / "config.json", config_json(config).encode())
        known = controls.register(folder)
        hosted = HostGrid(grid, {name: known[name] for name in asked})
        hosted.gather(config)
        coordinate(hosted, config, journal)
    finally:
        journal.release()

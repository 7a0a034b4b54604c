"""The server app of a hosted run: the same rounds, over SuperLink's grid.

It runs in the host's folder (SuperExec's working folder), where the roster says which
node speaks for whom. A run that was killed goes on where its journal is when it is
started again: Flower's run is a new one, ours is the same.
"""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from ...client import logs
from ...protocols.errors import ConfigError
from ...protocols.messages import config_text
from ...protocols.settings import Config
from .. import environments, files
from ..chronicles import Chronicle
from ..coordination import coordinate
from ..journal import Journal
from ..regions.trees import TreeGrid, routes
from ..runs import config_from_json, config_json
from . import controls, rosters
from .folders import HostFolder
from .grids import HostGrid

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run, or go on with, the federation that the configuration describes."""
    config = config_from_json(config_text(context.run_config))
    folder = HostFolder.open(Path.cwd())
    environments.prepare()
    logs.begin(also=("flwr",))
    admitted = rosters.active(folder.roster)
    ways = routes({one.name: one.region for one in config.clients}, admitted)
    asked = {way.partition("/")[0] or name for name, way in ways.items()}
    if strangers := sorted(asked - admitted.keys()):
        raise ConfigError(f"not on the roster: {', '.join(strangers)}")
    journal = Journal(folder.root / config.run.out, config.journal.keep)
    journal.hold()
    try:
        files.write(journal.folder / "config.json", config_json(config).encode())
        known = controls.register(folder)
        hosted = HostGrid(
            grid, {name: known[name] for name in sorted(asked)}, folder.settings.waits
        )
        hosted.gather(config)
        coordinate(_tree(hosted, ways, config), config, journal, [Chronicle()])
    finally:
        journal.release()


def _tree(hosted: HostGrid, ways: dict[str, str], config: Config) -> Grid:
    """The grid itself, or with parcels where clients are behind regions."""
    if not any(ways.values()):
        return hosted
    vouch = config.merge.tree == "regions"
    return TreeGrid(hosted, hosted.nodes, ways, vouch=vouch)

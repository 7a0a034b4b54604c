"""The coordinator's Flower app, for `flwr run` and `flower-server-app`.

It reads ``config`` (a `Config` as JSON text) from the run configuration.
"""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from ..protocols.messages import config_text
from .coordination import coordinate
from .journal import Journal
from .runs import config_from_json

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run, or go on with, the federation that the configuration describes."""
    config = config_from_json(config_text(context.run_config))
    journal = Journal(Path(config.run.out), config.journal.keep)
    journal.hold()
    try:
        coordinate(grid, config, journal)
    finally:
        journal.release()

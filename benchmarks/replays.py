"""What a run's model must be: its sealed replies merged again, by nobody's leave.

The run's folder is copied, everything after round 0 but the sealed payloads is thrown
away, and the server goes on from there with clients that refuse. A round then merges
exactly what was sealed in it.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from fedelta.server import files
from fedelta.server.coordination import coordinate
from fedelta.server.engine import InProcessGrid
from fedelta.server.journal import Journal
from fedelta.server.runs import config_from_json, config_json

refusing = ClientApp()


def _refuse(message: Message, context: Context) -> Message:  # noqa: ARG001  Flower's
    return Message(Error(1, "nobody is here"), reply_to=message)


for _kind in (refusing.train, refusing.evaluate, refusing.query):
    _kind()(_refuse)


def replay(run: Path, out: Path) -> dict[str, Any]:
    """Merge a run's sealed replies again.

    Args:
        run: the run's folder.
        out: where the second run goes.

    Returns:
        The second run's summary.
    """
    shutil.copytree(run, out)
    for path in out.glob("journal/round-*/manifest.json"):
        if path.parent.name != "round-0000":
            path.unlink()
    for name in ("updates", "state", "model"):
        shutil.rmtree(out / name, ignore_errors=True)
    (out / "summary.json").unlink(missing_ok=True)
    config = config_from_json(json.dumps(files.read_json(out / "config.json")))
    states = {one.name: out / "nobody" for one in config.clients}
    journal = Journal(out, config.journal.keep)
    journal.hold()
    try:
        given = {"config": config_json(config)}
        with InProcessGrid(states, given, workers=0, app=refusing) as grid:
            return coordinate(grid, config, journal)
    finally:
        journal.release()

"""The server app of a region: it answers what is asked from above, until nothing is.

It runs as one of Flower's runs on the region's own SuperLink, started when the first
question of a run comes, and again when it was killed and more is asked.
"""

import logging
import sys
import time
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from ...client import logs
from ...client.spools import Question, Spool
from ...protocols.bundles import Ask
from ...protocols.errors import FedeltaError, PayloadError
from ...protocols.messages import config_text
from .. import environments, files
from ..chronicles import Chronicle
from ..hosts import controls
from ..hosts.grids import HostGrid
from ..journal import Journal
from ..records import Record
from ..runs import config_from_json, config_json, introduction, run_id
from .edges import Edge
from .folders import RegionFolder

LOG = logging.getLogger("fedelta.region")
IDLE = 600.0
"""Seconds without a question after which the app ends; the next one starts it again."""
PAUSE = 0.1

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Answer for a region in one run."""
    text = config_text(context.run_config)
    config = config_from_json(text)
    folder = RegionFolder.open(Path.cwd())
    environments.prepare()
    logs.begin(also=("flwr",))
    journal = Journal(folder.host.root / config.run.out, config.journal.keep)
    journal.hold()
    path = journal.folder / "record.jsonl"
    record = Record(path, keep=sys.maxsize, listeners=[Chronicle()])
    try:
        files.write(journal.folder / "config.json", config_json(config).encode())
        hosted = HostGrid(
            grid, controls.register(folder.host), folder.host.settings.waits
        )
        if not path.stat().st_size:
            told = introduction(config, run_id(config))
            record.add("run", **told, clients=sorted(hosted.nodes))
        hosted.gather(config, needed=0)  # the root decides what is enough
        edge = Edge(hosted, hosted.nodes, config, run_id(config), journal, record)
        serve(Spool.of(folder.spool, text), edge)
    finally:
        record.close()
        journal.release()


def serve(spool: Spool, edge: Edge, idle: float = IDLE) -> None:
    """Answer questions, the oldest first, until none came for so many seconds."""
    last = time.monotonic()
    while time.monotonic() - last < idle:
        for question in spool.open():
            _answer(question, edge)
            last = time.monotonic()
        time.sleep(PAUSE)


def _answer(question: Question, edge: Edge) -> None:
    try:
        data = question.data
        if question.age > Ask.read(data).seconds:
            question.refuse("the question was too old when it was found")
            return
        question.answer(edge.answer(data, question.age))
    except FileNotFoundError:
        return  # whoever asked has given up
    except PayloadError as error:
        question.refuse(str(error))
    except FedeltaError as error:
        LOG.exception("could not answer")
        question.refuse(f"{type(error).__name__}: see the region's own log")

"""A tree of servers in this process: real regions, whose clients train for real."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from fedelta.client.app import app as honest
from fedelta.protocols.messages import read_reply, reply_content
from fedelta.protocols.refusals import Refusal
from fedelta.protocols.settings import Config
from fedelta.server import files
from fedelta.server.coordination import coordinate
from fedelta.server.engine import InProcessGrid
from fedelta.server.journal import Journal
from fedelta.server.records import Record
from fedelta.server.regions.edges import Edge
from fedelta.server.regions.trees import TreeGrid
from fedelta.server.runs import config_json, run_id

Hook = Callable[[str, bytes], None]


def below(config: Config, way: str) -> tuple[list[str], list[str]]:
    """The clients and the regions that are a region's own."""
    clients = [one.name for one in config.clients if one.region == way]
    depth = len(way.split("/")) if way else 0
    heads = {
        one.region.split("/")[depth]
        for one in config.clients
        if one.region.startswith(f"{way}/" if way else "") and one.region != way
    }
    return clients, sorted(heads - {""})


class Tree:
    """All servers of a tree, each in its own folder.

    Args:
        config: whose clients name their regions.
        root: the folder of them all.
        hook: told a region's way and what it is asked, before it does it.
    """

    def __init__(self, config: Config, root: Path, hook: Hook | None = None) -> None:
        self.config = config
        self.root = root
        self._hook = hook
        self._stack = ExitStack()
        self._edges: dict[str, Edge] = {}
        self.grid = self._grid("")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def folder(self, way: str) -> Path:
        """A server's folder of the run."""
        return self.root / f"root/{way}".rstrip("/").replace("/", "-")

    def _grid(self, way: str) -> InProcessGrid:
        clients, regions = below(self.config, way)
        names = [*clients, *regions]
        states = {name: self.root / "clients" / name for name in names}
        return self._stack.enter_context(
            InProcessGrid(
                states,
                {"config": config_json(self.config)},
                workers=0,
                app=self._app(way),
            )
        )

    def _edge(self, way: str) -> Edge:
        if way not in self._edges:
            folder = self.folder(way)
            folder.mkdir(parents=True, exist_ok=True)
            record = Record(folder / "record.jsonl", keep=sys.maxsize)
            self._stack.callback(record.close)
            grid = self._grid(way)
            run = run_id(self.config)
            self._edges[way] = Edge(
                grid, grid.nodes, self.config, run, Journal(folder), record
            )
        return self._edges[way]

    def forget(self, way: str) -> None:
        """A region dies: what is not on its disk is gone."""
        self._edges.pop(way, None)

    def _app(self, way: str) -> ClientApp:
        app = ClientApp()

        def passed(message: Message, context: Context) -> Message:
            return honest(message, context)

        @app.query("region")
        def region(message: Message, context: Context) -> Message:
            name = str(context.node_config["client"])
            inner = f"{way}/{name}" if way else name
            said = read_reply(message.content)
            assert not isinstance(said, Refusal), said
            if self._hook is not None:
                self._hook(inner, said[0])
            answer = self._edge(inner).answer(said[0])
            return Message(reply_content(answer, {}), reply_to=message)

        app.train()(passed)
        app.evaluate()(passed)
        app.query()(passed)
        return app

    def run(self) -> dict[str, Any]:
        """Begin the run or go on with it; its summary."""
        journal = Journal(self.folder(""), self.config.journal.keep)
        journal.hold()
        try:
            files.write_json(journal.folder / "config.json", asdict(self.config))
            return coordinate(self.tree(), self.config, journal)
        finally:
            journal.release()

    def tree(self) -> Grid:
        """The root's grid."""
        routes = {one.name: one.region for one in self.config.clients}
        vouch = self.config.merge.tree == "regions"
        return TreeGrid(self.grid, self.grid.nodes, routes, vouch=vouch)

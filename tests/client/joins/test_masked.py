"""A masked round among institutions: policies, pinned keys, their own data."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedelta.client.joins import layouts, peers
from fedelta.client.joins.app import app as theirs
from fedelta.client.joins.folders import JoinFolder
from fedelta.protocols.errors import QuorumError
from fedelta.protocols.settings import Config
from fedelta.server import files
from fedelta.server.coordination import coordinate
from fedelta.server.engine import InProcessGrid
from fedelta.server.hosts import admissions
from fedelta.server.journal import Journal
from fedelta.server.runs import config_json
from tests import tiny
from tests.federations import lines
from tests.server.hosts.federations import host

NAMES = ("east", "north", "south", "west")
FLOOR = "secure_aggregation = true"


def joined(root: Path, floor: str = FLOOR) -> dict[str, JoinFolder]:
    """Institutions with data of their own, and what they ask of a run."""
    hosted = host(root / "host")
    found = {}
    for at, name in enumerate(NAMES):
        data = tiny.data(root, 48, 4, f"{name}.jsonl", at)
        folder = layouts.create(root / name, name, str(data))
        layouts.accept(folder, admissions.admit(hosted, folder.public, name))
        policy = folder.root / "join.toml"
        text = policy.read_text()
        assert "secure_aggregation = false" in text
        policy.write_text(text.replace("secure_aggregation = false", floor))
        found[name] = JoinFolder.open(folder.root)
    return found


def pinned(folders: dict[str, JoinFolder], root: Path) -> None:
    for name, one in folders.items():
        (root / f"{name}.pub").write_text(peers.line(one))
    for one in folders.values():
        for name in NAMES:
            peers.pin(one, name, root / f"{name}.pub")


def run(config: Config, folders: dict[str, JoinFolder]) -> dict[str, Any]:
    app = ClientApp()

    def act(message: Message, context: Context) -> Message:
        where = folders[str(context.node_config["client"])].root
        return theirs(message, replace(context, node_config={"folder": str(where)}))

    for kind in (app.train("masks"), app.query("masks"), app.query(), app.train()):
        kind(act)
    out = Path(config.run.out)
    journal = Journal(out, config.journal.keep)
    journal.hold()
    files.write_json(out / "config.json", asdict(config))
    states = {name: out / name for name in NAMES}
    given = {"config": config_json(config)}
    try:
        with InProcessGrid(states, given, workers=0, app=app) as grid:
            return coordinate(grid, config, journal)
    finally:
        journal.release()


def test_institutions_that_want_masks_get_masks_or_nothing(tmp_path: Path) -> None:
    folders = joined(tmp_path)
    config = tiny.config(
        tmp_path,
        run={"rounds": 1},
        model={"head": "linear"},
        data={"source": "each its own", "labels": tiny.CLASSES[:4]},
        clients=[
            {"name": name, "data": one.policy.data.file}
            for name, one in folders.items()
        ],
        lora={"space": "frozen-a"},
        merge={"recipe": "ties(density=0.5)"},
        privacy={"secure_aggregation": True},
        eval={"local": False},
    )
    bare = replace(config, privacy=replace(config.privacy, secure_aggregation=False))
    with pytest.raises(QuorumError, match=r"part: .*secure aggregation is off"):
        run(replace(bare, run=replace(bare.run, out=str(tmp_path / "bare"))), folders)
    unknown = replace(config, run=replace(config.run, out=str(tmp_path / "unknown")))
    with pytest.raises(QuorumError, match="no client can take part"):
        run(unknown, folders)
    said = {one["detail"] for one in lines(unknown, "enrolment")}
    assert all("no signing key is pinned here" in text for text in said)
    pinned(folders, tmp_path)
    run(config, folders)
    told = {one["client"]: one["verdict"] for one in lines(config, "contribution")}
    assert told == dict.fromkeys(NAMES, "accepted")
    for one in folders.values():
        assert not list(one.state.rglob("*.state*")), "secrets of a round are deleted"
        assert len(list(one.state.rglob("*.spent"))) == 2

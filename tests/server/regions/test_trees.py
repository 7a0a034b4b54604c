"""Trees of servers: the flat run's model, bit for bit, whatever climbs."""

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message

from fedelta.aggregators.branches import Branch
from fedelta.protocols.bundles import Answer, Ask, Asked
from fedelta.protocols.settings import Config
from fedelta.server import records
from fedelta.server.grids import LocalGrid
from fedelta.server.journal import Journal
from fedelta.server.records import Record
from fedelta.server.regions import edges, parcels
from tests import tiny
from tests.federations import federate, silent
from tests.server.regions.trees import Tree

WAYS = {
    "ada": "",
    "bob": "north",
    "cleo": "north",
    "dan": "south/harbour",
    "eva": "south/harbour",
    "finn": "south",
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("given")
    tiny.model(root)
    tiny.data(root, 240)
    return root


def config(given: Path, out: Path, **tables: Any) -> Config:
    base: dict[str, Any] = {
        "model": {"id": str(given / "model")},
        "data": {"source": str(given / "data.jsonl"), "partition": "iid"},
        "lora": {"rank": 2, "alpha": 4.0, "space": "frozen-a"},
        "eval": {"local": False},
        "clients": [{"name": name, "region": way} for name, way in WAYS.items()],
    }
    for table, keys in tables.items():
        base[table] = keys if table == "clients" else base.get(table, {}) | keys
    return tiny.config(out, **base)


CASES: dict[str, dict[str, Any]] = {
    "states of ties": {"merge": {"recipe": "ties(0.3)", "tree": "regions"}},
    "states of fedavg, by examples": {"merge": {"tree": "regions"}},
    "states of a merge of merges": {
        "merge": {
            "recipe": "grouped(fedavg(), ties(0.5), by='region')",
            "tree": "regions",
        }
    },
    "states of dare, drawn by client": {
        "merge": {"recipe": "dare(0.5)", "tree": "regions", "weights": "uniform"}
    },
    "replies of products": {"lora": {"rank": 2, "alpha": 4.0, "space": "product"}},
    "replies for a median": {"merge": {"recipe": "median()"}},
}


@pytest.mark.parametrize("tables", CASES.values(), ids=list(CASES))
def test_a_tree_gives_the_flat_runs_model(
    given: Path, tmp_path: Path, tables: dict[str, Any]
) -> None:
    flat = federate(config(given, tmp_path / "flat", **tables))
    with Tree(config(given, tmp_path / "tree", **tables), tmp_path / "tree") as tree:
        summary = tree.run()
        told = records.read(tree.folder("") / "record.jsonl")
    assert summary["model_digest"] == flat["model_digest"]
    assert summary["refused"] == {}
    accepted = [
        (one["round"], one["client"])
        for one in told
        if one["kind"] == "contribution" and one["verdict"] == "accepted"
    ]
    assert sorted(accepted) == sorted((n, name) for n in (1, 2) for name in WAYS)


TIES: dict[str, Any] = {"merge": {"recipe": "ties(0.3)", "tree": "regions"}}


class GoneError(RuntimeError):
    """A region's process is not there."""


def test_a_region_that_dies_costs_its_region_only(given: Path, tmp_path: Path) -> None:
    """It is gone in round 1, and back in round 2: what it missed is sent again."""

    def hook(way: str, data: bytes) -> None:
        ask = Ask.read(data)
        if way == "south" and ask.round == 1:
            raise GoneError

    names = {"dan", "eva", "finn"}
    flat = federate(
        config(given, tmp_path / "flat", **TIES), {(n, 1): silent for n in names}
    )
    made = config(given, tmp_path / "tree", **TIES)
    with Tree(made, tmp_path / "tree", hook) as tree:
        summary = tree.run()
    assert summary["refused"] == {"CLIENT_ERROR": 3}
    assert summary["model_digest"] == flat["model_digest"]


@pytest.mark.parametrize("way", ["south", "south/harbour"])
def test_a_region_that_dies_before_its_state_drops_out(
    given: Path, tmp_path: Path, way: str
) -> None:
    """Its vouchers counted until it was asked for its state."""

    def hook(asked: str, data: bytes) -> None:
        ask = Ask.read(data)
        if asked == way and ask.round == 1 and ask.kind == "reduce":
            raise GoneError

    gone = {name for name, one in WAYS.items() if one.startswith(way)}
    flat = federate(
        config(given, tmp_path / "flat", **TIES), {(n, 1): silent for n in gone}
    )
    made = config(given, tmp_path / "tree", **TIES)
    with Tree(made, tmp_path / "tree", hook) as tree:
        summary = tree.run()
        told = records.read(tree.folder("") / "record.jsonl")
    assert summary["refused"] == {"TIMEOUT": len(gone)}
    first = next(one for one in told if one["kind"] == "release")
    again = records.read(Path(tmp_path / "flat" / "run" / "record.jsonl"))
    assert first["digest"] == next(
        one["digest"] for one in again if one["kind"] == "release"
    )
    assert flat["rounds"] == summary["rounds"] == 2


def test_servers_that_are_killed_go_on_from_their_seals(
    given: Path, tmp_path: Path
) -> None:
    """Every server dies in round 2; nobody trains twice for what was sealed."""
    made = config(given, tmp_path / "tree", **TIES)
    flat = federate(config(given, tmp_path / "flat", **TIES))
    asked: list[tuple[str, str]] = []

    def dying(way: str, data: bytes) -> None:
        ask = Ask.read(data)
        if ask.round == 2 and ask.kind == "reduce":
            raise KeyboardInterrupt

    def counted(way: str, data: bytes) -> None:
        asked.append((way, Ask.read(data).kind))

    with Tree(made, tmp_path / "tree", dying) as tree, pytest.raises(KeyboardInterrupt):
        tree.run()
    before = records.read(tmp_path / "tree" / "root-north" / "record.jsonl")
    with Tree(made, tmp_path / "tree", counted) as tree:
        summary = tree.run()
    after = records.read(tmp_path / "tree" / "root-north" / "record.jsonl")
    assert summary["model_digest"] == flat["model_digest"]
    assert ("north", "train") in asked
    assert [one["client"] for one in after[len(before) :]] == []


LIES: dict[str, Callable[[Branch], Branch]] = {
    "other clients": lambda one: replace(
        one, tally=replace(one.tally, members={"ada": ""})
    ),
    "too much": lambda one: replace(
        one, tally=replace(one.tally, planes={"": one.tally.planes[""] + (1 << 60)})
    ),
    "other numbers": lambda one: replace(
        one,
        tally=replace(
            one.tally, numbers=replace(one.tally.numbers, shares={"bob": 1, "cleo": 9})
        ),
    ),
    "another size": lambda one: replace(
        one, tally=replace(one.tally, planes={"": one.tally.planes[""][:, :-1]})
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_state_that_cannot_be_is_refused(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    real = parcels.packed
    monkeypatch.setattr(edges, "packed", lambda one: real(LIES[lie](one)))
    tables = {"merge": {"tree": "regions"}, "round": {"quorum": 0.1}}
    tables |= {"run": {"rounds": 1}}
    clients = [
        {"name": "ada"},
        *({"name": n, "region": "north"} for n in ("bob", "cleo")),
    ]
    made = config(given, tmp_path / "tree", clients=clients, **tables)
    with Tree(made, tmp_path / "tree") as tree:
        summary = tree.run()
    assert summary["refused"] == {"TIMEOUT": 2}
    told = records.read(tmp_path / "tree" / "root" / "record.jsonl")
    states = [one for one in told if one["kind"] == "state"]
    assert [one["verdict"] for one in states] == ["refused"]


def test_what_climbs_is_in_the_record(given: Path, tmp_path: Path) -> None:
    """A state's size does not grow with the clients; updates travel once a region."""
    sizes = {}
    for count in (2, 6):
        clients = [{"name": f"c{n}", "region": "north"} for n in range(count)]
        tables = {"merge": {"tree": "regions"}, "wire": {"up": "fp32"}}
        made = config(given, tmp_path / str(count), clients=clients, **tables)
        with Tree(made, tmp_path / str(count)) as tree:
            tree.run()
        told = records.read(tmp_path / str(count) / "root" / "record.jsonl")
        (one, _) = [line for line in told if line["kind"] == "state"]
        sizes[count] = one["bytes"]
        tolls = [line for line in told if line.get("what") == "regions"]
        assert all(line["clients"]["north"]["up"] > one["bytes"] for line in tolls)
    assert sizes[6] < 1.2 * sizes[2]


class Timed(LocalGrid):
    """Nobody answers; it is noted how long they had."""

    def __init__(self) -> None:
        super().__init__({"bob": 2})
        self.waits: list[float | None] = []

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Nothing."""
        self.waits.append(timeout)
        return []

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Nobody asks for this."""
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Nor for this."""
        raise NotImplementedError


def test_a_question_that_waited_leaves_less_time(given: Path, tmp_path: Path) -> None:
    """Else the region's answer comes when nobody above waits for it any more."""
    made, grid = config(given, tmp_path, **TIES), Timed()
    with closing(Record(tmp_path / "record.jsonl")) as record:
        edge = edges.Edge(grid, grid.nodes, made, "00", Journal(tmp_path), record)
        data = Ask("query", 0, 100.0, (Asked("bob", ""),)).data()
        answer = Answer.read(edge.answer(data, age=50.0))
    assert grid.waits == [40.0]
    assert answer.errors == {"bob": "TIMEOUT"}

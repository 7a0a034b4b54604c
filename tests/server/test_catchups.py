"""Catching up: the chain or a snapshot, whichever is smaller, to the same bytes."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from fedelta.client import models, sessions, stores
from fedelta.client.data import load
from fedelta.protocols import digests, snapshots
from fedelta.protocols.codec import Header, Payload, decode, encode
from fedelta.protocols.errors import StaleRoundError
from fedelta.protocols.plans import RoundPlan
from fedelta.protocols.refusals import Reason, Refusal
from fedelta.protocols.vectors import Layout
from fedelta.server.catchups import Catchup, catch_up
from fedelta.server.sessions import Session
from fedelta.server.versions import Update, Versions

from .. import tiny
from ..client.test_sending import plan
from ..protocols.samples import context, vector

RUN = "00ff00ff00ff00ff"


class Server:
    """As much of a session as catching up looks at, over real updates."""

    def __init__(self, folder: Path, wire: str) -> None:
        self.config = tiny.config(folder)
        self.base = models.load_base(self.config, load(self.config).labels)
        self.model = Versions(self.base.digest, self.base.weights())
        self.wire = wire

    def release(self, number: int) -> None:
        """One more update of random numbers."""
        layout = self.base.update_layout()
        given = vector(dict(zip(layout.names, layout.shapes, strict=True)), 1e-2)
        header = Header(RUN, number, "", self.model.base, layout.fingerprint)
        data = encode(given, self.wire, header)
        asked = context(layout, run=RUN, round=number, base=self.model.base)
        payload = decode(data, asked)
        assert isinstance(payload, Payload)
        found = payload.tensors()
        self.model.add(Update(digests.of_bytes(data), data, found))

    def lacks(self, held: int) -> Catchup:
        """What somebody lacks who holds so many updates."""
        return catch_up(cast("Session", cast("Any", self)), held)

    def plan(self, lacks: Catchup) -> RoundPlan:
        """A plan that carries it."""
        model = self.model
        return replace(
            plan(model.number + 1),
            run=RUN,
            base=model.base,
            version=model.number,
            updates=lacks.updates,
            snapshot=lacks.snapshot,
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    made = Server(tmp_path_factory.mktemp("server"), "fp32")
    for number in range(1, 5):
        made.release(number)
    return made


def brought(server: Server, home: Path, lacks: Catchup) -> dict[str, Any]:
    sessions.bring(server.base, server.plan(lacks), list(lacks.blobs), home)
    assert server.base.version == server.model.base
    return server.base.weights()


def test_both_ways_lead_to_the_same_bytes(server: Server, tmp_path: Path) -> None:
    behind = server.lacks(0)
    assert behind.snapshot
    assert len(behind.updates) == 4
    every = tuple(one.data for one in server.model.updates)
    chain = Catchup(behind.updates, "", every)
    assert len(behind.blobs[0]) < sum(map(len, every))
    found = []
    for name, way in (("chain", chain), ("snapshot", behind)):
        server.base.reset()
        found.append(digests.of_tensors(brought(server, tmp_path / name, way)))
    assert set(found) == {server.model.digest}


def test_one_update_is_sent_as_it_is(server: Server) -> None:
    last = server.model.updates[-1]
    assert server.lacks(3) == Catchup((last.digest,), "", (last.data,))
    assert server.lacks(4) == Catchup((), "", ())


def test_what_follows_a_snapshot_is_a_chain(tmp_path: Path) -> None:
    server, home = Server(tmp_path, "fp32"), tmp_path / "home"
    for number in range(1, 4):
        server.release(number)
    brought(server, home, server.lacks(0))
    server.release(4)
    after = server.lacks(3)
    assert not after.snapshot
    server.base.reset()  # another process: the snapshot is on disk
    weights = brought(server, home, after)
    assert digests.of_tensors(weights) == server.model.digest
    for number in range(5, 8):
        server.release(number)
    brought(server, home, server.lacks(4))
    names = sorted(path.name for path in (home / "updates").iterdir())
    assert names == ["0007.snapshot", "snapshot.json"]
    assert stores.Updates(home).snapshot()[0] == list(server.lacks(0).updates)


def test_small_updates_stay_a_chain(tmp_path: Path) -> None:
    server = Server(tmp_path, "sign256")
    for number in range(1, 5):
        server.release(number)
    assert not server.lacks(0).snapshot
    assert len(server.lacks(0).blobs) == 4


def test_a_snapshot_of_another_base_is_refused(server: Server, tmp_path: Path) -> None:
    behind = server.lacks(0)
    server.base.reset()
    other = {n: np.zeros_like(w) for n, w in server.base.origin().items()}
    data = snapshots.encode(other, server.model.weights, server.model.base, "d" * 64)
    forged = replace(behind, snapshot=digests.of_bytes(data), blobs=(data,))
    with pytest.raises(StaleRoundError, match="another base model"):
        brought(server, tmp_path, forged)
    assert digests.of_tensors(server.base.weights()) == digests.of_tensors(
        server.base.origin()
    )
    assert server.base.version == server.base.digest


def test_a_damaged_snapshot_is_refused() -> None:
    zero = {"w": np.zeros((3, 4), np.float32)}
    data = snapshots.encode(zero, vector({"w": (3, 4)}).tensors, "b", "d")
    layout = Layout.of({"w": (3, 4)})
    assert isinstance(snapshots.decode(data, layout), snapshots.Snapshot)
    cases = {
        data[:-3]: Reason.BAD_OFFSETS,
        b"PK" + data: Reason.BAD_HEADER,
        data.replace(b"snapshot", b"snapshut"): Reason.BAD_VERSION,
    }
    for spoiled, reason in cases.items():
        found = snapshots.decode(spoiled, layout)
        assert isinstance(found, Refusal)
        assert found.reason == reason
    other = snapshots.decode(data, Layout.of({"w": (4, 3)}))
    assert isinstance(other, Refusal)
    assert other.reason == Reason.WRONG_SCHEMA

"""A region between a coordinator and two institutions, over TLS on loopback."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedelta.client.joins import layouts as institutions
from fedelta.server import records
from fedelta.server.holders import holder
from fedelta.server.hosts import admissions
from fedelta.server.hosts.layouts import Ports
from fedelta.server.regions.folders import RegionFolder
from tests import tiny
from tests.server.hosts.federations import (
    CONFIG,
    Processes,
    free_ports,
    host,
    join,
    left_behind,
    run,
    wait,
)

pytestmark = [pytest.mark.slow, pytest.mark.needs_nginx]
WAYS = {"ada": "", "bob": "north", "cleo": "north"}
MORE = 'space = "frozen-a"\n[merge]\nrecipe = "ties(0.5)"\ntree = "regions"\n'


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("regions")
    test = tiny.data(root, 24, 4, "test.jsonl", 9)
    text = CONFIG.format(
        model=json.dumps(str(tiny.model(root))), test=json.dumps(str(test))
    )
    text = text.replace("alpha = 4.0\n", f"alpha = 4.0\n{MORE}")
    for at, name in enumerate(WAYS):
        tiny.data(root, 48, 4, f"{name}.jsonl", at)
    tables = "".join(
        f'[[clients]]\nname = "{name}"\nregion = "{way}"\n'
        for name, way in WAYS.items()
    )
    (root / "run.toml").write_text(text + tables)
    alike = "".join(
        f'[[clients]]\nname = "{name}"\nregion = "{way}"\n'
        f"data = {json.dumps(str(root / f'{name}.jsonl'))}\n"
        for name, way in WAYS.items()
    )
    source = text.replace('source = ""', 'source = "each its own"')
    (root / "alike.toml").write_text(source + alike)
    return root


@pytest.fixture(scope="module")
def finished(root: Path) -> Iterator[Path]:
    """The folder of a run in which the region's server app was killed."""
    hosted = host(root / "host")
    ports = Ports(*free_ports(len(Ports.__dataclass_fields__)))
    region = RegionFolder.create(root / "north", "north", ["127.0.0.1"], ports)
    answer = admissions.admit(hosted, region.above.public, "north")
    institutions.accept(region.above, answer)
    members = {
        name: join(
            region.host if way else hosted,
            root / name,
            name,
            str(root / f"{name}.jsonl"),
        )
        for name, way in WAYS.items()
    }
    with Processes(root / "out") as processes:
        processes.start("host", "host", "up", str(hosted.root))
        processes.start("north", "region", "up", str(region.host.root))
        processes.until("host", "nodes may join")
        for name, member in members.items():
            processes.start(name, "join", "up", str(member.root))
        processes.until("north", "north joins")
        config = str(root / "run.toml")
        processes.start("run", "host", "run", config, "--dir", str(hosted.root))
        below = region.host.runs / "tiny"
        sealed = below / "journal" / "round-0002"
        wait(lambda: any(sealed.glob("*.payload")), "the region seals in round 2", 300)
        os.kill(holder(below), signal.SIGKILL)
        processes.running["run"].wait(300)
        out = hosted.runs / "tiny"
        assert (out / "summary.json").exists(), processes.said("run")
        yield out
    assert not left_behind([hosted.root, region.host.root])


def test_the_roots_model_is_the_flat_runs(finished: Path, root: Path) -> None:
    out = root / "alike"
    flat = ("--set", "eval.local=false", "--set", "merge.tree=flat")
    run("simulate", str(root / "alike.toml"), "--out", str(out), *flat, "-q")
    for path in sorted((out / "model").glob("*.safetensors")):
        assert (finished / "model" / path.name).read_bytes() == path.read_bytes()


def test_everybody_counted_once_a_round(finished: Path) -> None:
    told = [
        (one["round"], one["client"], one["verdict"])
        for one in records.read(finished / "record.jsonl")
        if one["kind"] == "contribution"
    ]
    assert sorted(told) == [(n, name, "accepted") for n in (1, 2) for name in WAYS]


def test_what_stayed_below_did_not_climb(finished: Path) -> None:
    names = {path.stem for path in finished.rglob("*.payload")}
    assert "ada" in names
    assert not names & {"bob", "cleo"}
    assert any(name.startswith("region") for name in names)

"""Three levels of servers over TLS on loopback, and what becomes of one that dies.

Under the coordinator is the region north, with an institution and the region harbour
below it, which has another. Harbour is killed before round 1 and comes back in round 2;
north's server app is killed between them.
"""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedelta.client.joins import layouts as institutions
from fedelta.client.joins.runtimes import state_of
from fedelta.server import records, runs
from fedelta.server.holders import holder
from fedelta.server.hosts import admissions
from fedelta.server.hosts.folders import HostFolder
from fedelta.server.hosts.layouts import Ports
from fedelta.server.regions.folders import RegionFolder
from tests import tiny
from tests.federations import federate, silent
from tests.server.hosts.federations import (
    CONFIG,
    Processes,
    free_ports,
    host,
    join,
    left_behind,
    wait,
)

pytestmark = [pytest.mark.slow, pytest.mark.needs_nginx]
WAYS = {"bob": "north", "cleo": "north/harbour"}
MORE = 'space = "frozen-a"\n[merge]\nrecipe = "ties(0.5)"\ntree = "regions"\n'


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("regions")
    test = tiny.data(root, 24, 4, "test.jsonl", 9)
    text = CONFIG.format(
        model=json.dumps(str(tiny.model(root))), test=json.dumps(str(test))
    )
    text = text.replace("alpha = 4.0\n", f"alpha = 4.0\n{MORE}")
    own = text.replace('source = ""', 'source = "each its own"')
    for at, (name, way) in enumerate(WAYS.items()):
        data = tiny.data(root, 48, 4, f"{name}.jsonl", at)
        one = f'[[clients]]\nname = "{name}"\nregion = "{way}"\n'
        text, own = text + one, f"{own}{one}data = {json.dumps(str(data))}\n"
    (root / "run.toml").write_text(text)
    (root / "alike.toml").write_text(own)
    return root


def region(root: Path, name: str, above: HostFolder) -> RegionFolder:
    """A region that is admitted."""
    ports = Ports(*free_ports(len(Ports.__dataclass_fields__)))
    made = RegionFolder.create(root / name, name, ["127.0.0.1"], ports)
    answer = admissions.admit(above, made.above.public, name)
    institutions.accept(made.above, answer)
    return made


def patient(made: RegionFolder, seconds: int) -> None:
    """Have a region's next server app wait so long for who is gone."""
    settings = made.host.root / "host.toml"
    text, count = re.subn(
        r"gone_seconds = \d+", f"gone_seconds = {seconds}", settings.read_text()
    )
    assert count == 1
    settings.write_text(text)


def kill(processes: Processes, made: RegionFolder) -> None:
    """End a region at once; its node says goodbye, else it is missed in a minute."""
    node = state_of(made.host.state / "up.json")["services"]["supernode"]
    os.kill(node["pid"], signal.SIGTERM)
    processes.running["harbour"].kill()
    processes.running["harbour"].wait()


def serving(made: RegionFolder) -> int:
    """The process of a region's server app."""
    pid = holder(made.host.runs / "tiny")
    assert pid
    return pid


def told(out: Path, kind: str, number: int) -> bool:
    """Whether a run's record has such a line of a round."""
    path = out / "record.jsonl"
    return path.exists() and any(
        one["kind"] == kind and one.get("round") == number for one in records.read(path)
    )


@pytest.fixture(scope="module")
def finished(root: Path) -> Iterator[Path]:
    """The run's folder at the coordinator, after it all."""
    hosted = host(root / "host")
    north = region(root, "north", hosted)
    harbour = region(root, "harbour", north.host)
    hosts = {"": hosted, "north": north.host, "north/harbour": harbour.host}
    members = {
        name: join(hosts[way], root / name, name, str(root / f"{name}.jsonl"))
        for name, way in WAYS.items()
    }
    patient(north, 2)
    up = ("region", "up", str(harbour.host.root))
    out = hosted.runs / "tiny"
    with Processes(root / "out") as processes:
        processes.start("host", "host", "up", str(hosted.root))
        processes.start("north", "region", "up", str(north.host.root))
        processes.start("harbour", *up)
        for name in ("host", "north", "harbour"):
            processes.until(name, "nodes may join")
        for name, member in members.items():
            processes.start(name, "join", "up", str(member.root))
        config = str(root / "run.toml")
        processes.start("run", "host", "run", config, "--dir", str(hosted.root))
        wait(lambda: told(out, "evaluation", 0), "round 0 is committed", 200)
        kill(processes, harbour)
        wait(lambda: told(out, "evaluation", 1), "round 1 is committed", 200)
        patient(north, 100)
        os.kill(serving(north), signal.SIGKILL)
        processes.start("harbour", *up)
        processes.running["run"].wait(200)
        assert (out / "summary.json").exists(), processes.said("run")
        yield out
    assert not left_behind([hosted.root, north.host.root, harbour.host.root])


def test_a_region_that_dies_costs_its_region_only(finished: Path) -> None:
    verdicts = {
        (one["round"], one["client"]): one["verdict"]
        for one in records.read(finished / "record.jsonl")
        if one["kind"] == "contribution"
    }
    wanted = {(n, name): "accepted" for n in (1, 2) for name in WAYS}
    assert verdicts == wanted | {(1, "cleo"): "refused"}


def test_the_roots_model_is_the_flat_runs(finished: Path, root: Path) -> None:
    """Bit for bit, of the same replies: what came back has caught up."""
    sets = [f"run.out={root / 'alike'}", "eval.local=false", "merge.tree=flat"]
    flat = runs.load(root / "alike.toml", overrides=sets)
    federate(flat, {("cleo", 1): silent})
    for path in sorted((root / "alike" / "model").glob("*.safetensors")):
        assert (finished / "model" / path.name).read_bytes() == path.read_bytes()


def test_what_stayed_below_did_not_climb(finished: Path) -> None:
    names = {path.stem for path in finished.rglob("*.payload")}
    assert any(name.startswith("region") for name in names)
    assert not names & WAYS.keys()

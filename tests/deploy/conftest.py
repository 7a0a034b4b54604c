"""A coordinator and two institutions over TLS on loopback, for all of this folder."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fedelta.client.joins.folders import JoinFolder
from fedelta.client.joins.runtimes import state_of
from fedelta.server.hosts.folders import HostFolder
from tests import tiny
from tests.server.hosts.federations import (
    CONFIG,
    Processes,
    host,
    join,
    left_behind,
    wait,
)
from tests.server.hosts.scrapes import asked

NAMES = ("hospital-a", "hospital-b")


@dataclass
class Federation:
    """What the tests of this file share."""

    host: HostFolder
    members: dict[str, JoinFolder]
    processes: Processes
    config: Path
    root: Path
    scraped: set[str] = field(default_factory=set)


@pytest.fixture(scope="package")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    root = tmp_path_factory.mktemp("federation")
    config = root / "run.toml"
    test = tiny.data(root, 24, 4, "test.jsonl", 9)
    model = tiny.model(root)
    config.write_text(
        CONFIG.format(model=json.dumps(str(model)), test=json.dumps(str(test)))
    )
    hosted = host(root / "host")
    members = {
        name: join(
            hosted, root / name, name, str(tiny.data(root, 48, 4, f"{name}.jsonl", at))
        )
        for at, name in enumerate(NAMES)
    }
    with Processes(root / "out") as processes:
        processes.start("host", "host", "up", str(hosted.root), "--log", "json")
        processes.until("host", "nodes may join")
        for name, member in members.items():
            processes.start(name, "join", "up", str(member.root), "--log=json")
        yield Federation(hosted, members, processes, config, root)
    assert not left_behind([hosted.root, *(one.root for one in members.values())])


@pytest.fixture(scope="package")
def finished(federation: Federation) -> Path:
    """The folder of a run whose SuperLink was killed while it ran."""
    words = [str(federation.config), "--dir", str(federation.host.root)]
    federation.processes.start("run", "host", "run", *words)
    out = federation.host.runs / "tiny"
    record = out / "record.jsonl"
    wait(lambda: record.exists() and '"round":0' in record.read_text(), "round 0", 240)
    federation.scraped.update(asked(federation.host.settings.inside.metrics_port))
    pid = state_of(federation.host.state / "up.json")["services"]["superlink"]["pid"]
    os.kill(pid, signal.SIGKILL)
    federation.processes.running["run"].wait(300)
    assert (out / "summary.json").exists(), federation.processes.said("run")
    return out

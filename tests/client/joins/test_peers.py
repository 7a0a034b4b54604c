"""Institutions pin signing keys, and refuse a masked run without them."""

from pathlib import Path

import pytest

from fedelta.client.joins import layouts, peers
from fedelta.client.joins.folders import JoinFolder
from fedelta.client.joins.policies import Data, NotAgreedError, Policy, check
from fedelta.client.joins.policies import Privacy as Floors
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.protections import Privacy
from fedelta.protocols.settings import Client, Config
from fedelta.server.hosts import admissions
from tests.server.hosts.federations import host

MASKED = Config(
    clients=tuple(Client(name) for name in ("north", "south")),
    privacy=Privacy(secure_aggregation=True),
)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[JoinFolder]:
    root = tmp_path_factory.mktemp("peers")
    hosted = host(root / "host")
    found = []
    for name in ("north", "south"):
        folder = layouts.create(root / name, name, "")
        layouts.accept(folder, admissions.admit(hosted, folder.public, name))
        found.append(folder)
    return found


def test_a_masked_run_needs_everybody_pinned(
    members: list[JoinFolder], tmp_path: Path
) -> None:
    north, south = members
    with pytest.raises(NotAgreedError, match=r"pinned here of: south; .*join peers"):
        peers.check(north, MASKED)
    peers.check(north, Config())
    line = tmp_path / "south.pub"
    line.write_text(peers.line(south) + "\n")
    peers.pin(north, "south", line)
    peers.check(north, MASKED)
    assert peers.roster(north).keys() == {"north", "south"}
    assert north.signing.stat().st_mode & 0o077 == 0
    line.write_text(peers.line(north))
    with pytest.raises(ConfigError, match="'south' is pinned with another key"):
        peers.pin(north, "south", line)
    line.write_text(north.public.read_text())
    with pytest.raises(ConfigError, match="no Ed25519 public key"):
        peers.pin(north, "east", line)


def test_a_floor_of_secure_aggregation_is_met_by_it() -> None:
    policy = Policy(Data("x"), privacy=Floors(secure_aggregation=True))
    check(policy, MASKED)
    with pytest.raises(NotAgreedError, match="secure aggregation is off"):
        check(policy, Config())

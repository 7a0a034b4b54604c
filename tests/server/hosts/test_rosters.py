"""Who is in, who is out, and that nobody slips in under another's name."""

import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedelta.client.joins import keys
from fedelta.protocols.errors import ConfigError
from fedelta.server.hosts import rosters
from fedelta.server.hosts.commands import app

from .federations import host

AT = "2030-01-01T00:00:00+00:00"


@pytest.fixture
def roster(tmp_path: Path) -> Path:
    rosters.write(tmp_path / "roster.toml", ())
    return tmp_path / "roster.toml"


def key(folder: Path, name: str) -> str:
    keys.create(folder / f"{name}.key", folder / f"{name}.pub", name)
    return (folder / f"{name}.pub").read_text()


def test_admission_is_written_and_read_back(roster: Path, tmp_path: Path) -> None:
    member = rosters.admit(roster, "a", key(tmp_path, "a"), AT)
    assert rosters.active(roster) == {"a": member}
    assert tomllib.loads(roster.read_text())["members"][0]["name"] == "a"


def test_the_same_again_changes_nothing(roster: Path, tmp_path: Path) -> None:
    line = key(tmp_path, "a")
    first = rosters.admit(roster, "a", line, AT)
    again = rosters.admit(roster, "a", line.replace(" a\n", " other comment"), "later")
    assert again == first
    assert len(rosters.read(roster)) == 1


def test_a_name_and_a_key_belong_to_one(roster: Path, tmp_path: Path) -> None:
    line = key(tmp_path, "a")
    rosters.admit(roster, "a", line, AT)
    with pytest.raises(ConfigError, match="admitted as 'a'"):
        rosters.admit(roster, "b", line, AT)
    with pytest.raises(ConfigError, match="revoke it first"):
        rosters.admit(roster, "a", key(tmp_path, "b"), AT)


def test_a_revoked_key_stays_out(roster: Path, tmp_path: Path) -> None:
    line = key(tmp_path, "a")
    rosters.admit(roster, "a", line, AT)
    rosters.revoke(roster, "a", AT)
    assert not rosters.active(roster)
    with pytest.raises(ConfigError, match="revoked on"):
        rosters.admit(roster, "a", line, AT)
    rosters.admit(roster, "a", key(tmp_path, "a2"), AT)
    assert list(rosters.active(roster)) == ["a"]


def test_revoking_a_stranger_says_who_is_there(roster: Path, tmp_path: Path) -> None:
    rosters.admit(roster, "a", key(tmp_path, "a"), AT)
    with pytest.raises(ConfigError, match="there is a"):
        rosters.revoke(roster, "b", AT)


def test_a_roster_with_a_strange_key_is_refused(roster: Path) -> None:
    roster.write_text('[[member]]\nname = "a"\n')
    with pytest.raises(ConfigError, match="did you mean members"):
        rosters.read(roster)


def test_the_folder_is_given_either_way(tmp_path: Path) -> None:
    """Behind what a command is about, or as an option: for every command alike."""
    hosted, told = host(tmp_path / "host"), CliRunner()
    sent, root = tmp_path / "a.pub", str(hosted.root)
    key(tmp_path, "a")
    for given in ([root], ["--dir", root], [root, "--dir", root]):
        done = told.invoke(app, ["admit", str(sent), "--name", "a", *given])
        assert done.exit_code == 0, done.output
        assert told.invoke(app, ["renew", *given]).exit_code == 0
        done = told.invoke(app, ["revoke", "b", *given])
        assert "there is a" in str(done.exception)
    twice = told.invoke(app, ["status", root, "--dir", str(tmp_path)])
    assert "give the host's folder once" in str(twice.exception)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(hosted.root)
        assert told.invoke(app, ["renew"]).exit_code == 0

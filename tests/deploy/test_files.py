"""What is in deploy/ is what the commands write, and real tools accept it."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fedelta
from fedelta.client.joins import nodes
from fedelta.server.hosts import layouts, services, tasks
from fedelta.server.hosts.folders import HostFolder
from tests.server.hosts.federations import host, join

ROOT = Path(fedelta.__file__).parent
DEPLOY = ROOT / "deploy"


@pytest.fixture
def hosted(tmp_path: Path) -> HostFolder:
    return host(tmp_path / "host")


def test_the_bundle_is_what_the_host_writes(hosted: HostFolder) -> None:
    for name in ("pyproject.toml", "README.md"):
        assert (DEPLOY / "app" / name).read_bytes() == (hosted.app / name).read_bytes()


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_the_bundle_holds_no_code_and_asks_for_none(tmp_path: Path) -> None:
    import io
    import zipfile

    from flwr.cli.build import build_fab_from_disk

    with zipfile.ZipFile(io.BytesIO(build_fab_from_disk(DEPLOY / "app"))) as bundle:
        names = set(bundle.namelist())
        project = tomllib.loads(bundle.read("pyproject.toml").decode())
    assert not [name for name in names if name.endswith(".py")]
    assert [
        one for one in project["project"]["dependencies"] if "flwr" not in one
    ] == []
    assert project["project"]["version"] == fedelta.__version__


def test_flower_takes_the_bundle() -> None:
    from flwr.cli.config_utils import load_and_validate

    load_and_validate(DEPLOY / "app" / "pyproject.toml")


def test_every_task_that_flower_can_start_is_ours_or_refused() -> None:
    from flwr.supercore.constant import TASK_TYPE_TO_COMMAND

    ours = {"flwr-clientapp", *nodes.REFUSED}
    assert set(TASK_TYPE_TO_COMMAND.values()) == ours


def test_flowers_runners_have_what_we_replace() -> None:
    import importlib

    from fedelta.client.joins import tasks as client_tasks

    client = importlib.import_module(client_tasks.RUNNER)
    assert callable(client.install_from_fab)
    assert callable(client.get_load_client_app_fn)
    assert callable(importlib.import_module(tasks.RUNNER).run_)


def test_a_node_refuses_other_tasks(hosted: HostFolder, tmp_path: Path) -> None:
    member = join(hosted, tmp_path / "a", "a")
    nodes.write_launchers(member)
    for name in nodes.REFUSED:
        done = subprocess.run(
            [nodes.launchers(member) / name],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 78
        assert "is not run here" in done.stderr
    path = nodes.environment(member)["PATH"]
    assert shutil.which("flwr-clientapp", path=path) == str(
        nodes.launchers(member) / "flwr-clientapp"
    )


def test_nothing_phones_home_or_installs(hosted: HostFolder, tmp_path: Path) -> None:
    member = join(hosted, tmp_path / "a", "a")
    for around in (services.environment(hosted), nodes.environment(member)):
        assert around["FLWR_TELEMETRY_ENABLED"] == "0"
        assert around["FLWR_DISABLE_UPDATE_CHECK"] == "1"
        assert around["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
        assert str(tmp_path) in around["FLWR_HOME"]


def test_superlink_stays_on_loopback_and_checks_keys(hosted: HostFolder) -> None:
    words = services.superlink(hosted)
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert "--enable-supernode-auth" in words
    assert words[words.index("--isolation") + 1] == "process"
    assert "--insecure" not in words


@pytest.mark.needs_nginx
def test_nginx_accepts_the_proxy(hosted: HostFolder, tmp_path: Path) -> None:
    join(hosted, tmp_path / "a", "a")
    done = subprocess.run(
        [services.nginx(), "-t", "-c", hosted.proxy, "-p", hosted.root],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.needs_program("systemd-analyze", "systemd")
def test_systemd_accepts_the_units(hosted: HostFolder, tmp_path: Path) -> None:
    member = join(hosted, tmp_path / "a", "a")
    for number, unit in enumerate(
        [
            hosted.root / "fedelta-host.service",
            member.root / "fedelta-join.service",
            *sorted((DEPLOY / "systemd").glob("*.service")),
        ]
    ):
        text = unit.read_text().replace("/opt/fedelta/bin/fedelta", sys.executable)
        copy = tmp_path / f"unit-{number}.service"
        copy.write_text(text)
        done = subprocess.run(
            [str(shutil.which("systemd-analyze")), "verify", copy],
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.returncode, done.stderr
        assert copy.name not in done.stderr, done.stderr


def test_a_folder_is_never_made_over(hosted: HostFolder) -> None:
    from fedelta.protocols.errors import ConfigError

    with pytest.raises(ConfigError, match="not empty"):
        layouts.create(hosted.root, "x", ["localhost"], layouts.Ports())

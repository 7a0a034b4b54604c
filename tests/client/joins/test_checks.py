"""`fedelta join check`: every cross says what is wrong and what to do."""

import email.utils
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from fedelta.client.joins import checks, layouts
from fedelta.client.joins.folders import JoinFolder
from fedelta.server.hosts import statuses
from fedelta.server.hosts.folders import HostFolder
from tests import tiny
from tests.server.hosts.federations import host, join


@pytest.fixture
def hosted(tmp_path: Path) -> HostFolder:
    return host(tmp_path / "host")


@pytest.fixture
def member(hosted: HostFolder, tmp_path: Path) -> JoinFolder:
    return join(hosted, tmp_path / "a", "a", str(tiny.data(tmp_path)))


@contextmanager
def answering(hosted: HostFolder, keys: Path, ahead: float = 0.0) -> Iterator[None]:
    """A server at the proxy's port, with somebody's certificate and clock."""

    class Answer(BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return email.utils.formatdate(time.time() + ahead, usegmt=True)

        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", hosted.settings.host.port), Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "server.pem", keys / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def crosses(member: JoinFolder) -> dict[str, str]:
    return {one.what: one.said for one in checks.check(member) if not one.good}


def test_what_is_wrong_at_home(tmp_path: Path) -> None:
    """Before there is an invitation: own file, key and data."""
    folder = layouts.create(tmp_path / "a", "a", str(tmp_path / "nowhere.jsonl"))
    folder.private.chmod(0o644)
    found = crosses(folder)
    assert found.keys() == {"key", "data", "invitation"}
    assert "chmod 600" in found["key"]
    assert "nowhere.jsonl" in found["data"]
    (folder.root / "join.toml").write_text("[data]\nfiel = 1\n")
    said = crosses(JoinFolder.open(folder.root))
    assert "did you mean file" in said["join.toml"]


@pytest.mark.parametrize("inside", [True, False])
def test_data_is_found_from_wherever_the_node_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, inside: bool
) -> None:
    """A path is the institution's own, not the working directory's."""
    where = tmp_path / "a" if inside else tmp_path
    monkeypatch.chdir(tmp_path)
    if not inside:
        tiny.data(where).rename("notes.jsonl")
    folder = layouts.create(tmp_path / "a", "a", "notes.jsonl")
    if inside:
        tiny.data(tmp_path).rename(where / "notes.jsonl")
    monkeypatch.chdir("/")
    assert "data" not in crosses(JoinFolder.open(folder.root))


def test_a_server_that_is_not_there(member: JoinFolder) -> None:
    assert "is the coordinator up" in crosses(member)["server"]


def test_another_federations_certificate(
    hosted: HostFolder, member: JoinFolder, tmp_path: Path
) -> None:
    other = host(tmp_path / "other")
    with answering(hosted, other.keys):
        said = crosses(member)
    assert said.keys() == {"server"}
    assert "not the federation's" in said["server"]


def test_a_clock_that_is_wrong(hosted: HostFolder, member: JoinFolder) -> None:
    server, service = statuses.serve(hosted)
    try:
        with answering(hosted, hosted.keys, ahead=3600):
            said = crosses(member)
        with answering(hosted, hosted.keys):
            right = crosses(member)
    finally:
        service.ending.set()
        server.stop(0).wait()
    assert said.keys() == {"clock"}
    assert "set it (NTP)" in said["clock"]
    assert right == {}


def test_without_its_status_service(hosted: HostFolder, member: JoinFolder) -> None:
    with answering(hosted, hosted.keys):
        said = crosses(member)
    assert "does not answer" in said["status"]

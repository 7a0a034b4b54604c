"""The operator's web server: who may ask, and for what."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedelta.protocols.errors import ConfigError
from fedelta.server.serving import LOOPBACK, serving, told


@pytest.fixture
def port() -> Iterator[int]:
    with serving(lambda _, start: told(start, "200 OK", "hello"), LOOPBACK, 0) as found:
        yield found


def asked(port: int, method: str = "GET", host: str = "") -> http.client.HTTPResponse:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.putrequest(method, "/", skip_host=True)
    client.putheader("Host", host or f"127.0.0.1:{port}")
    client.putheader("Connection", "close")
    client.endheaders()
    return client.getresponse()


def test_loopback_is_answered(port: int) -> None:
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "localhost", "[::1]"):
        said = asked(port, host=host)
        assert (said.status, said.read()) == (200, b"hello")
        assert said.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "[fe80::1]", "]["]
)
def test_another_name_of_this_machine_is_not(port: int, host: str) -> None:
    assert asked(port, host=host).status == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "X"])
def test_there_is_no_way_to_write(port: int, method: str) -> None:
    said = asked(port, method)
    assert said.status == 405
    assert said.headers["Allow"] == "GET"


def test_it_listens_on_loopback_alone(port: int) -> None:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    listening = {line.split()[1] for line in lines if line.split()[3] == "0A"}
    assert [one for one in listening if one.endswith(f":{port:04X}")] == [
        f"0100007F:{port:04X}"
    ]


def test_a_taken_port_is_told(port: int) -> None:
    with (
        pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"),
        serving(lambda _, start: told(start, "200 OK", ""), LOOPBACK, port),
    ):
        pass

"""A small web server for the operator: read only, on loopback unless told otherwise.

What it serves is a WSGI application behind a `Guard`: GET alone, and, on loopback, a
Host header that names loopback, so that no web page elsewhere can read it by giving
its own name this machine's address.
"""

import ipaddress
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from ..protocols.errors import ConfigError

LOG = logging.getLogger("fedelta.serving")
LOOPBACK = "127.0.0.1"
PATIENCE = 10.0
"""Seconds that a caller may take for its question."""
HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-cache"),
)

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Guard:
    """Lets only plain questions of the right caller through to an application.

    Args:
        app: answers them.
        local: whether the Host header must name loopback.
    """

    def __init__(self, app: App, *, local: bool) -> None:
        self._app = app
        self._local = local

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer, or say why not."""

        def started(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, *HEADERS], *more)

        if self._local and not is_local(str(environ.get("HTTP_HOST", ""))):
            return told(started, "403 Forbidden", "ask for localhost or 127.0.0.1\n")
        if environ["REQUEST_METHOD"] != "GET":
            allow = ("Allow", "GET")
            return told(started, "405 Method Not Allowed", "only GET\n", allow)
        return self._app(environ, started)


def told(
    start_response: Callable[..., Any], status: str, text: str, *headers: Any
) -> list[bytes]:
    """A short answer in plain text."""
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *headers])
    return [text.encode()]


def is_local(host: str) -> bool:
    """Whether a Host header names loopback.

    Example:
        >>> [is_local(one) for one in ("localhost:80", "127.0.0.1", "[::1]:80")]
        [True, True, True]
        >>> [is_local(one) for one in ("example.org", "127.0.0.1.example.org", "")]
        [False, False, False]
    """
    name, bracket, _ = host.partition("]")
    name = name.removeprefix("[") if bracket else host.rpartition(":")[0] or host
    return name == "localhost" or is_loopback(name)


def is_loopback(listen: str) -> bool:
    """Whether an address is one of this machine's own."""
    try:
        return ipaddress.ip_address(listen).is_loopback
    except ValueError:
        return False


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """As `WSGIServer`, but asks no name server who we are."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = map(str, self.server_address[:2])  # type: ignore[assignment]
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its name
        """To our log, where standard error would be."""
        LOG.debug(format, *args)


@contextmanager
def serving(app: App, listen: str, port: int) -> Iterator[int]:
    """Serve an application in the background, until the block ends.

    Args:
        app: what answers; it is put behind a `Guard`.
        listen: the address.
        port: 0: a free one.

    Yields:
        The port.

    Raises:
        ConfigError: nothing can listen there.
    """
    kind = _Server6 if ":" in listen else _Server
    try:
        server = kind((listen, port), _Handler)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen on {listen}:{port}: {error}") from error
    server.set_app(Guard(app, local=is_loopback(listen)))
    thread = threading.Thread(target=server.serve_forever, args=(0.2,), daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

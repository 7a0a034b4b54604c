"""The "flower" engine: `flwr run` on Flower's own simulation runtime, which is Ray.

The same client and server apps as everywhere, and the same bytes. SuperLink runs as
our child with a home and ports of its own, so that no other Flower on this machine is
touched; what phones home, looks for updates or installs at run time is off.
"""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import __version__
from ..client.data import load
from ..client.joins.runtimes import answers, program, search_path
from ..protocols.errors import ConfigError, QuorumError, RoundError
from ..protocols.settings import Config
from . import environments, files
from .records import Listener, read
from .runs import config_json

APP = f"""\
[project]
name = "fedelta"
version = "{__version__}"
description = "A federated merge, simulated: see the run's configuration."
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedelta"
fab-include = ["README.md"]

[tool.flwr.app.components]
serverapp = "fedelta.server.app:app"
clientapp = "fedelta.client.app:app"

[tool.flwr.app.config]
config = ""
state = ""
"""
LINK = """\
[superlink]
default = "here"

[superlink.here]
address = "127.0.0.1:{port}"
insecure = true
"""
_START = 60.0
"""Seconds that SuperLink may take to answer."""
_TAIL = 600
"""Characters of a log that an error shows."""


def run(
    config: Config, folder: Path, *, workers: int, listeners: Sequence[Listener] = ()
) -> dict[str, Any]:
    """Run, or go on with, the federation that a folder holds, on Flower's runtime.

    Args:
        config: the run's settings.
        folder: the run's; nobody holds it.
        workers: how many clients are trained at once, each on one core.
        listeners: called with the record's lines as they are written.

    Returns:
        What is in `summary.json`.

    Raises:
        ConfigError: Ray is missing, or no run can be started.
        RoundError: the run ended before it was done (QuorumError: too few replies).
    """
    if find_spec("ray") is None:
        raise ConfigError(
            'run.engine = "flower" needs Ray: pip install "fedelta[simulation]"'
        )
    home = folder.resolve() / "flower"
    _write(config, folder, home)
    around = surroundings(home)
    with superlink(home, around) as port:
        files.write(home / "config.toml", LINK.format(port=port).encode())
        options = {
            "num-supernodes": len(load(config).clients),
            "client-resources-num-cpus": 1,
            "init-args-num-cpus": max(1, workers),
        }
        federation = " ".join(f"{key}={value}" for key, value in options.items())
        words = [program("flwr"), "run", str(home / "app"), "here", "--stream"]
        words += ["--run-config", str(home / "run.toml")]
        words += ["--federation-config", federation]
        with (home / "run.log").open("ab") as log:
            told = subprocess.Popen(  # noqa: S603  our own arguments
                words, env=around, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                _follow(told, folder / "record.jsonl", listeners)
            finally:
                told.kill()
                told.wait()
    if not (folder / "summary.json").exists():
        raise _failure(home / "run.log")
    return files.read_json(folder / "summary.json")


def _write(config: Config, folder: Path, home: Path) -> None:
    """The app that Flower bundles (configuration, no code) and the run's settings."""
    files.write(home / "app" / "pyproject.toml", APP.encode())
    files.write(home / "app" / "README.md", b"Run by `fedelta simulate`.\n")
    given = {
        "config": config_json(config),
        "state": str(folder.resolve() / "clients"),
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in given.items()]
    files.write(home / "run.toml", ("\n".join(lines) + "\n").encode())


def surroundings(home: Path) -> dict[str, str]:
    """Variables for Flower and Ray: a private home, and silence."""
    kept = {key: value for key, value in os.environ.items() if key[:5] != "FLWR_"}
    return (
        kept
        | environments.quiet_environment()
        | {
            "FLWR_HOME": str(home),
            "PATH": search_path(home),
            "PYTHONUNBUFFERED": "1",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
    )


@contextmanager
def superlink(home: Path, around: Mapping[str, str]) -> Iterator[int]:
    """A SuperLink of our own while it is needed; its port."""
    port, control = _free(), _free()
    words = [program("flower-superlink"), "--insecure", "--simulation"]
    words += ["--isolation", "subprocess", "--host", "127.0.0.1", "--port", str(port)]
    words += ["--control-api-address", f"127.0.0.1:{control}"]
    with (home / "superlink.log").open("ab") as log:
        link = subprocess.Popen(  # noqa: S603  our own arguments
            words,
            env=dict(around),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        began = time.monotonic()
        while not answers("127.0.0.1", port):
            if link.poll() is not None or time.monotonic() - began > _START:
                raise _failure(home / "superlink.log")
            time.sleep(0.1)
        yield port
    finally:
        os.killpg(link.pid, signal.SIGTERM)
        try:
            link.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(link.pid, signal.SIGKILL)
            link.wait()


def _free() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _follow(
    told: subprocess.Popen[bytes], path: Path, listeners: Sequence[Listener]
) -> None:
    """Hand on the record's lines until Flower says that the run has ended."""
    said = 0
    while True:
        over = told.poll() is not None
        lines = read(path) if path.exists() else []
        for line in lines[said:]:
            for listener in listeners:
                listener(line)
        said = max(said, len(lines))
        if over:
            return
        time.sleep(0.2)


def _failure(log: Path) -> RoundError:
    """What the log says of why it ended."""
    text = log.read_text("utf-8", "replace") if log.exists() else ""
    kind = QuorumError if "QuorumError" in text else RoundError
    return kind(
        f"Flower ended the run; see {log}: ... {' '.join(text[-_TAIL:].split())}"
    )

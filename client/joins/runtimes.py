"""Around supervised processes: the lock, the log, the signals, what is up."""

import fcntl
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...protocols.disks import write
from ...protocols.errors import ConfigError
from .. import logs
from .processes import Running

UP = "up.json"
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "PYTHONUNBUFFERED": "1",
}
"""Nobody phones home, and nothing is installed at run time."""


def write_launcher(path: Path, module: str, log: Path) -> None:
    """Write a command that runs a module with this Python, and where it logs."""
    run = f'exec "{sys.executable}" -m {module} "$@" >>"{log}" 2>&1'
    write(path, f"#!/bin/sh\n{run}\n".encode())
    path.chmod(0o755)


@contextmanager
def held(state: Path) -> Iterator[None]:
    """Hold a folder, so that it is up once.

    Raises:
        ConfigError: another process holds it.
    """
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"{state.parent} is up already, in another process"
            ) from error
        yield


@contextmanager
def told(path: Path, tell: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """Lines both to people and, with the time, to a log file.

    Where logs are to be JSON, both get JSON.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:

        def say(text: str) -> None:
            line = logs.line(path.stem, text)
            log.write(f"{line}\n")
            log.flush()
            tell(line if logs.chosen() == "json" else text)

        yield say


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or SIGINT came; handlers are put back at the end."""
    asked: list[int] = []
    before = {
        one: signal.signal(one, lambda number, _: asked.append(number))
        for one in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def note(path: Path, running: Sequence[Running]) -> None:
    """Write down what runs, for `status`."""
    services_now = {
        one.service.name: {
            "pid": one.process.pid if one.process else 0,
            "restarts": one.restarts,
        }
        for one in running
    }
    write(path, json.dumps({"pid": os.getpid(), "services": services_now}).encode())


def state_of(path: Path) -> dict[str, Any]:
    """What `note` wrote; processes that are gone have pid 0."""
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {"pid": 0, "services": {}}
    for one in (found, *found["services"].values()):
        if not Path(f"/proc/{one['pid']}").exists():
            one["pid"] = 0
    return found


def answers(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def program(name: str) -> str:
    """A command of Flower's, beside this Python.

    Raises:
        ConfigError: it is not installed.
    """
    beside = Path(sys.executable).parent
    found = shutil.which(name, path=str(beside)) or shutil.which(name)
    if not found:
        raise ConfigError(f"{name} is not installed: pip install flwr")
    return found


def search_path(first: Path) -> str:
    """PATH with our launchers first, and the commands beside this Python."""
    rest = os.environ.get("PATH", os.defpath)
    return os.pathsep.join([str(first), str(Path(sys.executable).parent), rest])

"""A real federation on this machine: a host and institutions, as processes."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from fedelta.client.joins import layouts as institutions
from fedelta.client.joins.folders import JoinFolder
from fedelta.server.hosts import admissions
from fedelta.server.hosts.folders import HostFolder
from fedelta.server.hosts.layouts import Ports, create

FEDELTA = (sys.executable, "-m", "fedelta.server.cli")

CONFIG = """
[run]
name = "tiny"
rounds = 2
out = "tiny"
[model]
id = {model}
head = "linear"
[data]
source = ""
labels = ["amber", "birch", "cobalt", "dune"]
test = {test}
[train]
steps = 2
batch = 8
learning_rate = 1e-2
max_length = 24
[lora]
rank = 2
alpha = 4.0
[round]
deadline_seconds = 150
"""


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return found


def host(root: Path) -> HostFolder:
    """A host's folder on free ports of loopback."""
    return create(root, "test", ["127.0.0.1"], Ports(*free_ports(4)))


def join(hosted: HostFolder, root: Path, name: str, data: str = "") -> JoinFolder:
    """An institution that is admitted."""
    folder = institutions.create(root, name, data)
    answer = admissions.admit(hosted, folder.public, name)
    institutions.accept(folder, answer)
    return folder


class Processes:
    """Commands of ours in the background; none outlives the block."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for one in reversed(self.running.values()):
            if one.poll() is None:
                one.send_signal(signal.SIGTERM)
        for one in self.running.values():
            try:
                one.wait(40)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()

    def start(self, name: str, *words: str) -> None:
        """Run a fedelta command in the background."""
        with (self.logs / f"{name}.out").open("wb") as out:
            self.running[name] = subprocess.Popen(
                [*FEDELTA, *words], stdout=out, stderr=subprocess.STDOUT
            )

    def said(self, name: str) -> str:
        """What it has printed."""
        return (self.logs / f"{name}.out").read_text("utf-8")

    def until(self, name: str, text: str, seconds: float = 120.0) -> None:
        """Wait for a command to print something; fail at once if it has failed."""

        def told() -> bool:
            if self.running[name].poll():
                raise AssertionError(f"{name} ended: {self.said(name)}")
            return text in self.said(name)

        wait(told, f"{name}: {text}", seconds)


def wait(true: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Wait for something, or fail and say for what."""
    limit = time.monotonic() + seconds
    while not true():
        if time.monotonic() > limit:
            raise AssertionError(f"not in {seconds:g} s: {what}")
        time.sleep(0.2)


def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a fedelta command to its end."""
    done = subprocess.run(
        [*FEDELTA, *words], capture_output=True, text=True, timeout=400, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"{words}: {done.stderr}\n{done.stdout}")
    return done


def left_behind(roots: Sequence[Path]) -> list[str]:
    """Command lines of processes that speak of these folders."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        mine = str(os.getpid()) == path.parent.name
        if not mine and any(str(root) in words for root in roots):
            found.append(words)
    return found

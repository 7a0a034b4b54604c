"""A command's processes, watched: what each kind of them held at most."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def peaks(words: Sequence[str]) -> dict[str, int]:
    """Run `fedelta` and watch: bytes that the "server" and a "worker" held at most."""
    command = [sys.executable, "-m", "fedelta.server.cli", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    found = {"server": 0, "worker": 0}
    while process.poll() is None:
        for pid in [process.pid, *_children(process.pid)]:
            kind = "server" if pid == process.pid else "worker"
            found[kind] = max(found[kind], _peak(pid))
        time.sleep(0.05)
    assert process.returncode == 0
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(one) for one in task.read_text().split()]
        except OSError:
            continue
    return found + [deeper for one in found for deeper in _children(one)]


def _peak(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(l.split()[1]) << 10 for l in lines if "VmHWM" in l), 0)  # noqa: E741

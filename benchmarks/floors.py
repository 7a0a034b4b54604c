"""What nothing can be faster than: reading what goes in once, writing what comes out.

Figures are CPU seconds of this process, best of some, so that a shared machine's other
work shows as little as it can; wall seconds stand beside them.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Cost:
    """What one call takes.

    Attributes:
        cpu: seconds of all threads.
        wall: seconds.
    """

    cpu: float
    wall: float


def cost(call: Callable[[], object], repeats: int = 3) -> Cost:
    """The least of some calls."""
    cpu = wall = float("inf")
    for _ in range(repeats):
        before, begun = time.process_time(), time.perf_counter()
        call()
        cpu = min(cpu, time.process_time() - before)
        wall = min(wall, time.perf_counter() - begun)
    return Cost(cpu, wall)


def waited(call: Callable[[], object]) -> tuple[Cost, float]:
    """One call's cost; the part of its threads' time in which others had their core.

    What the scheduler says of each thread, looked at until it ends; 0 where there is
    no such thing.
    """
    found: dict[str, tuple[int, int]] = {}
    done = threading.Event()
    before, own = _schedules(), f"{threading.get_native_id()}"

    def watch() -> None:
        watcher = f"{threading.get_native_id()}"
        while not done.wait(0.005):
            found.update(_schedules())
            found.pop(watcher, None)

    watcher = threading.Thread(target=watch)
    watcher.start()
    spent = cost(call, 1)
    found[own] = _schedules().get(own, (0, 0))
    done.set()
    watcher.join()
    ran = waits = 0
    for name, (work, idle) in found.items():
        first = before.get(name, (0, 0))
        ran, waits = ran + work - first[0], waits + idle - first[1]
    return spent, waits / max(ran + waits, 1)


def _schedules() -> dict[str, tuple[int, int]]:
    """By thread, nanoseconds on a core and in wait for one."""
    found = {}
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            work, idle = path.read_text().split()[:2]
        except OSError:  # it ended
            continue
        found[path.parent.name] = (int(work), int(idle))
    return found


def floor(
    given: Sequence[npt.NDArray[np.generic]], out: npt.NDArray[np.float32]
) -> Callable[[], object]:
    """A pass that reads arrays and writes an output: one reduction, one fill."""
    words = []
    for array in given:
        flat = array.reshape(-1).view(np.uint8)
        whole = flat.size - flat.size % 8
        at = -flat.ctypes.data % 8
        words.append(flat[at : at + max(0, whole - 8)].view(np.uint64))

    def once() -> None:
        for array in words:
            array.max(initial=0)
        out.fill(0)

    return once

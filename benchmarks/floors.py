"""What nothing can be faster than: reading what goes in once, writing what comes out.

Figures are CPU seconds of this process, best of some, so that a shared machine's other
work shows as little as it can; wall seconds stand beside them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

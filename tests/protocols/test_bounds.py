"""Reading costs little: memory, time, and no Python for every span."""

import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest

from fedelta.protocols.codec import decode
from fedelta.protocols.vectors import TaskVector

from .samples import WIRES, accepted, context, payload, vector

SCRATCH = 16 << 20
POOL = vector({"w": (1 << 19,)}).tensors["w"]


def noise(size: int) -> TaskVector:
    return TaskVector.of({"w": np.resize(POOL, size)})


NOISE = noise(3 << 20)


@pytest.mark.parametrize("text", WIRES)
def test_memory_of_a_view(text: str) -> None:
    """At most three times the input and 16 MiB, to open it and to read it."""
    data = payload(NOISE, text)
    accepted(data, NOISE.layout)
    tracemalloc.start()
    found = accepted(data, NOISE.layout)
    for span in NOISE.layout.spans[::7]:
        found.block(span)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 3 * len(data) + SCRATCH, (peak, len(data))


def test_memory_does_not_grow_with_what_is_declared() -> None:
    """A payload of zeros stands for many values and costs no more than a chunk."""
    zeros = TaskVector.of({"w": np.zeros(24 << 20, np.float32)})
    for text in ("fp32", "int4", "sparse(0.3)"):
        data = payload(zeros, text)
        tracemalloc.start()
        accepted(data, zeros.layout)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= 3 * len(data) + SCRATCH, (text, peak, len(data))


RSS = """
import resource, sys
from tests.protocols.samples import accepted, payload
from tests.protocols.test_bounds import noise
big, small = noise(12 << 20), noise(1 << 20)
for text in ("fp32", "sparse(0.2)", "int8"):
    accepted(payload(small, text), small.layout)
    data = payload(big, text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = accepted(data, big.layout)
    for span in big.layout.spans:
        found.block(span)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown <= 3 * len(data) + (16 << 20), (text, grown, len(data))
"""


def test_resident_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RSS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def seconds(data: bytes, given: TaskVector) -> float:
    """CPU time of the quickest of three."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        decode(data, context(given.layout))
        best = min(best, time.process_time() - began)
    return best


@pytest.mark.parametrize(
    "text", ["fp16", "sign256", "sparse(0.05)", "dare(0.1)", "int4"]
)
def test_time_is_linear(text: str) -> None:
    """Four times the elements take no more than some six times as long."""
    sizes = (2 << 20, 8 << 20)
    some = [noise(size) for size in sizes]
    accepted(payload(some[0], text), some[0].layout)
    short, long = (seconds(payload(one, text), one) for one in some)
    assert long <= 6 * short + 0.02, (short, long)

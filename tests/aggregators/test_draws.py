"""What is drawn again while merging is what was drawn for sending."""

import numpy as np
import pytest

from fedelta.aggregators import draws
from fedelta.protocols import seeds

FIRST = 7_001


@pytest.mark.parametrize("every", [1, 2, 3, 20, 255, 4096, 40_001, draws.LONGEST])
def test_strata_are_the_masks(every: int) -> None:
    rows = np.arange(FIRST, FIRST + draws.BLOCK)
    words = seeds.words(12_345, FIRST, draws.BLOCK)
    wanted = (rows - FIRST) * every + (words % np.uint64(every)).astype(np.int64)
    out = np.zeros(draws.BLOCK, np.int32)
    gaps = draws.scratch()[3]
    draws.strata(np.uint64(12_345), FIRST, every, FIRST * every, gaps, out)
    assert out.tolist() == wanted.tolist()


@pytest.mark.parametrize("density", [0.03, 0.3, 0.999])
def test_chances_are_the_masks(density: float) -> None:
    wanted = seeds.kept(99, FIRST, draws.BLOCK, density)
    out = np.zeros(draws.BLOCK, np.int32)
    found = draws.chances(np.uint64(99), FIRST, density, FIRST, out)
    assert out[:found].tolist() == wanted.tolist()


def test_halves_are_read_by_their_bits() -> None:
    bits = np.arange(1 << 16, dtype="<u2")
    low, high = np.ascontiguousarray(bits.view(np.uint8).reshape(-1, 2).T)
    values = np.zeros(bits.size, np.float32)
    draws.unpacked(low, high, values)
    wanted = bits.view(np.float16).astype(np.float32)
    finite = np.isfinite(wanted)
    found = values * np.float32(2.0**112)
    assert found[finite].tobytes() == wanted[finite].tobytes()

"""The k-th largest magnitude, against a sort."""

from collections.abc import Iterator

import numpy as np
import pytest

from fedelta.aggregators import ranks
from fedelta.aggregators.kernels import INFINITE
from fedelta.protocols import seeds
from fedelta.protocols.vectors import Floats


def drawn(size: int, kind: str) -> Floats:
    values = seeds.normal(seeds.key("ranks", size, kind), 0, size).astype(np.float32)
    if kind == "tied":
        return np.round(values * 2) / np.float32(2)
    if kind == "sorted":  # what is sampled says little of the rest
        return np.sort(values)
    if kind == "rows":
        values[size // 10 :] *= np.float32(1e-4)
    if kind == "zeros":
        values[size // 10 :] = 0
    return values


def expected(values: Floats, most: int) -> tuple[int, int]:
    sizes = np.sort(values.view(np.uint32) & np.uint32(0x7FFFFFFF))[::-1]
    if most >= np.count_nonzero(sizes):
        return 1, -1
    least = sizes[most - 1]
    inside = int(np.count_nonzero(sizes[:most] == least))
    whole = int(np.count_nonzero(sizes == least))
    return int(least), inside if whole > inside else -1


@pytest.mark.parametrize("kind", ["plain", "tied", "sorted", "rows", "zeros"])
@pytest.mark.parametrize("size", [1, 2, 129, 40_000, 300_001])
def test_it_is_what_a_sort_finds(size: int, kind: str) -> None:
    values = drawn(size, kind)
    cut = size // 3

    def read() -> Iterator[Floats]:
        return iter([values[:cut], values[cut:]] if cut else [values])

    for most in {1, max(1, size // 20), max(1, size // 5), size // 2 + 1, size}:
        for room in (ranks.room(size), 10):
            found = ranks.ranked(read, size, most, np.empty(room, np.uint32))
            wanted = expected(values, most)
            assert (found.least, found.ties) == wanted
            assert found.peak == int(np.abs(values).max().view(np.uint32))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("room", [100_000, 10])
def test_what_is_not_finite_shows(bad: float, room: int) -> None:
    values = drawn(100_000, "plain")
    values[77_777] = bad
    scratch = np.empty(room, np.uint32)
    found = ranks.ranked(lambda: iter([values]), values.size, 5_000, scratch)
    assert found.peak >= INFINITE

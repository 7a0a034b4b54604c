"""Intervals cover what they should, and chance is not taken for more."""

import math

import numpy as np
import pytest

from fedelta.protocols import seeds
from fedelta.server.evidence import bootstraps
from fedelta.server.evidence.bootstraps import chance


def draws(name: int, count: int, mean: float) -> list[float]:
    return [float(one) for one in mean + seeds.normal(seeds.key("b", name), 0, count)]


def test_intervals_cover_the_mean() -> None:
    inside = 0
    for name in range(100):
        found = chance(draws(name, 30, 0.5))
        assert found is not None
        inside += found.low <= 0.5 <= found.high
    assert 86 <= inside <= 99


def test_chance_alone_is_seldom_significant() -> None:
    found = [chance(draws(1000 + name, 10, 0.0)) for name in range(200)]
    small = np.mean([one.signs <= 0.05 for one in found if one is not None])
    assert 0.005 <= small <= 0.12
    large = chance(draws(7, 10, 3.0))
    assert large is not None
    assert large.signs == pytest.approx(2 / 2**10)
    assert large.p < 1e-3


def test_many_differences_are_drawn_from() -> None:
    found = chance(draws(3, 40, 0.0))
    assert found is not None
    assert found.p > 0.05
    assert found == chance(draws(3, 40, 0.0))


def test_many_are_drawn_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    given = draws(5, 37, 0.1)
    whole = chance(given)
    monkeypatch.setattr(bootstraps, "_PIECE", 1000)
    assert chance(given) == whole


def test_few_differences_are_gone_through() -> None:
    """All 27 draws from three values; moved, none from 1, 2, 3 is 2 away."""
    found = chance([1.0, 2.0, 3.0])
    assert found is not None
    means = [(a + b + c) / 3 for a in (1, 2, 3) for b in (1, 2, 3) for c in (1, 2, 3)]
    assert [found.low, found.high] == pytest.approx(
        np.percentile(means, [2.5, 97.5]).tolist()
    )
    assert found.p == 0.0
    near = chance([-1.0, 0.0, 2.5])  # mean 0.5: moved, they are -1.5, -0.5, 2
    assert near is not None
    moved = (-1.5, -0.5, 2.0)
    sums = [a + b + c for a in moved for b in moved for c in moved]
    assert near.p == pytest.approx(np.mean([abs(one) >= 1.5 for one in sums]))
    assert near.signs == 1.0, "1.5 at least, whatever the signs"


def test_many_differences_come_near_the_normal_law() -> None:
    """Draws' means are normal with the variance of the values over their count."""
    given = np.array(draws(11, 400, 0.08))
    found = chance(given.tolist())
    assert found is not None
    error = given.std() / len(given) ** 0.5
    wanted = given.mean() + error * np.array([-1.96, 1.96])
    assert [found.low, found.high] == pytest.approx(wanted.tolist(), abs=0.1 * error)
    tail = math.erfc(abs(given.mean()) / error / 2**0.5)
    assert found.p == pytest.approx(tail, abs=4 * (tail * (1 - tail) / 10_000) ** 0.5)
    assert 0.001 < found.p < 0.5

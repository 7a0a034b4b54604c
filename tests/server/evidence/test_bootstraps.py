"""Intervals cover what they should, and chance is not taken for more."""

import numpy as np
import pytest

from fedelta.protocols import seeds
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
    small = np.mean([one.p <= 0.05 for one in found if one is not None])
    assert 0.005 <= small <= 0.12
    large = chance(draws(7, 10, 3.0))
    assert large is not None
    assert large.p == pytest.approx(2 / 2**10)


def test_many_differences_are_drawn_from() -> None:
    found = chance(draws(3, 40, 0.0))
    assert found is not None
    assert found.p > 0.05
    assert found == chance(draws(3, 40, 0.0))

"""Keyed numbers: addressed by position, well spread, and the same for ever."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedelta.protocols import seeds
from fedelta.protocols.normals import inverse

KEYS = st.integers(0, 2**64 - 1)


@given(KEYS, st.integers(0, 10**12), st.integers(0, 50), st.integers(0, 50))
def test_addressed_by_position(key: int, start: int, skip: int, count: int) -> None:
    for draw in (seeds.words, seeds.uniform, seeds.normal):
        whole = draw(key, start, skip + count)
        assert (whole[skip:] == draw(key, start + skip, count)).all()


@given(
    KEYS,
    st.integers(0, 10**12),
    st.integers(0, 50),
    st.integers(0, 50),
    st.sampled_from([1.0, 0.5, 0.1, 0.05, 0.3, 0.77]),
)
def test_masks_are_addressed_by_position(
    key: int, start: int, skip: int, count: int, density: float
) -> None:
    whole = seeds.keep(key, start, skip + count, density)
    assert (whole[skip:] == seeds.keep(key, start + skip, count, density)).all()


def test_pinned() -> None:
    """The words of splitmix64 as its authors publish them; keys for ever the same."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert seeds.words(1234567, 0, 3).tolist() == published
    assert seeds.key("run", 1) == 0x4599E2402628BEAA
    assert seeds.key() != seeds.key("")


@pytest.mark.parametrize("density", [0.5, 0.1, 0.05])
def test_one_of_each_stratum(density: float) -> None:
    mask = seeds.keep(3, 0, 400_000, density).reshape(-1, seeds.strata(density))
    assert (mask.sum(1) == 1).all()
    shares = mask.mean(0) * seeds.strata(density)
    assert shares.min() > 0.8
    assert shares.max() < 1.2


def test_bernoulli() -> None:
    assert abs(seeds.keep(3, 0, 100_000, 0.3).mean() - 0.3) < 0.01


def test_uniform() -> None:
    drawn = seeds.uniform(5, 0, 100_000)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.005


def test_normal_is_the_quantile_of_its_word() -> None:
    drawn = seeds.normal(9, 0, 2000)
    high = seeds.words(9, 0, 2000) >> np.uint64(12)
    exact = [statistics.NormalDist().inv_cdf((int(w) + 0.5) / 2**52) for w in high]
    assert np.abs(drawn - exact).max() < 1e-13
    for p in (2.0**-53, 1e-12, 1 - 1e-12):
        close = statistics.NormalDist().inv_cdf(p)
        assert abs(inverse(np.array([p]))[0] - close) < 1e-12


def test_permutation() -> None:
    assert sorted(seeds.permutation(2, 100).tolist()) == list(range(100))
    assert seeds.permutation(2, 0).size == 0
    assert (seeds.permutation(2, 9) != seeds.permutation(3, 9)).any()

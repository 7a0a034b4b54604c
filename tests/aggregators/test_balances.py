"""Merges by competition, by common parts and by norms, against their definitions."""

import numpy as np
import pytest

from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.separations import separated
from fedelta.protocols import seeds
from fedelta.protocols.errors import ConfigError

from .cases import Reals, Tolerance, drawn, merged

near: Tolerance = {"rtol": 2e-5, "atol": 2e-6}


def competing(vectors: list[Reals], density: float) -> Reals:
    """Du et al. 2024, section 3, one member after another, as the authors count."""
    flats = [one.reshape(-1) for one in vectors]
    count, width = len(flats), flats[0].size
    total = sum(flats, start=np.zeros(width))
    above, below = np.zeros(width), np.zeros(width)
    for flat in flats:
        ranked = np.sort(np.abs(flat))
        last = int(width * (1 - 1e-4) - 1)
        size = np.clip(np.abs(flat), ranked[int(width * 1e-4)], ranked[last])
        within = np.exp(count * ((size - size.min()) / np.ptp(size)) ** 2)
        score = within * np.tanh(flat * total)
        least = np.sort(score)[int(width * (1 - density))]
        weight = (np.maximum(score, least) - least) / (score.max() - least)
        above += weight * np.sign(flat) * size
        below += weight
    return (above / np.maximum(below, 1e-12)).reshape(vectors[0].shape)


@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
def test_pcb(density: float) -> None:
    vectors = drawn(3, 20, 9)
    wanted = competing(vectors, density)
    made = merged(f"pcb({density}, gain=0.5)", vectors)
    np.testing.assert_allclose(made, 0.5 * wanted, **near)
    whole = merged(f"pcb({density}, scope='vector')", vectors)
    np.testing.assert_allclose(whole, wanted, **near)


def test_pcb_of_what_does_not_compete_is_the_mean() -> None:
    np.testing.assert_allclose(merged("pcb", [np.full(3, 2.0), np.full(3, 4.0)]), 3)
    assert not merged("pcb", [np.zeros(4)] * 2).any()


def test_robust_pca_finds_what_was_put_together() -> None:
    base = np.outer(drawn(1, 40)[0], drawn(1, 60, what="row")[0])
    spikes = np.zeros(base.size)
    spikes[seeds.permutation(7, base.size)[:100]] = 12.0
    low, rest = separated(base + spikes.reshape(base.shape))
    np.testing.assert_allclose(low, base, atol=1e-3)
    np.testing.assert_allclose(rest, spikes.reshape(base.shape), atol=1e-3)
    np.testing.assert_allclose(separated(base.T)[0], separated(base)[0].T, atol=1e-9)


def test_fedrpca_amplifies_what_is_each_ones_own() -> None:
    common = np.sign(drawn(1, 300)[0])
    vectors = [common.copy() for _ in range(5)]
    for place, one in enumerate(vectors):
        one[10 * place] += 30.0
    made = merged("fedrpca(3.0)", vectors)
    wanted = common.copy()
    wanted[[0, 10, 20, 30, 40]] += 3.0 * 30 / 5
    np.testing.assert_allclose(made, wanted, atol=0.02)
    shares = [1, 2, 3, 1, 1]
    mean = np.average(vectors, axis=0, weights=shares)
    np.testing.assert_allclose(merged("fedrpca(1)", vectors, shares), mean, **near)
    assert not merged("fedrpca", [np.zeros(3)] * 2).any()


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_fromm(power: float) -> None:
    vectors = [place * one for place, one in enumerate(drawn(4, 6, 5), 1)]
    sizes = np.array([np.linalg.norm(one) for one in vectors]) ** power
    wanted = np.tensordot(sizes / sizes.sum(), np.array(vectors), 1)
    np.testing.assert_allclose(merged(f"fromm({power})", vectors), wanted, **near)
    assert not merged("fromm", [np.zeros(3)] * 2).any()


def test_fromm_at_two_is_metagpt() -> None:
    vectors = drawn(3, 8)
    made = merged("fromm(2.0, scope='vector')", vectors)
    np.testing.assert_allclose(made, merged("metagpt", vectors), **near)


@pytest.mark.parametrize(
    "text",
    ["pcb(0)", "pcb(scope='row')", "fedrpca(-1)", "fromm(-1)", "fromm(scope='row')"],
)
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        recipe(text)

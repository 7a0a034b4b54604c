"""DELLA and Breadcrumbs against their papers, element by element."""

import math

import numpy as np
import pytest

from fedelta.aggregators.recipes import recipe
from fedelta.protocols import seeds
from fedelta.protocols.errors import ConfigError

from . import oracles
from .cases import KEY, Reals, drawn, merged, reals


def sampled(value: Reals, member: str, density: float, epsilon: float) -> Reals:
    """Deep et al. 2024: rank each row, keep by rank, rescale by 1 / probability."""
    uniform = seeds.uniform(KEY.of(member).seed("sample", "w"), 0, value.size)
    out = np.zeros_like(value)
    for row in range(value.shape[0]):
        order = sorted(range(value.shape[1]), key=lambda i: (abs(value[row, i]), i))
        for rank, column in enumerate(order):
            p = density - epsilon + 2 * epsilon * rank / (value.shape[1] - 1)
            if uniform[row * value.shape[1] + column] < p:
                out[row, column] = value[row, column] / p
    return out


def crumbed(value: Reals, density: float, gamma: float) -> Reals:
    """Davari and Belilovsky 2023: without the largest, without the smallest."""
    flat = value.reshape(-1)
    order = sorted(range(flat.size), key=lambda i: (-abs(flat[i]), i))
    cut = math.floor(gamma * flat.size)
    out = np.zeros_like(flat)
    for i in order[cut : cut + math.ceil(density * flat.size)]:
        out[i] = flat[i]
    return out.reshape(value.shape)


@pytest.mark.parametrize(("density", "epsilon"), [(0.5, 0.15), (0.4, 0.0), (0.7, 0.3)])
def test_della(density: float, epsilon: float) -> None:
    vectors, shares = drawn(4, 6, 50), [1, 3, 2, 5]
    kept = [sampled(v, f"m{k}", density, epsilon) for k, v in enumerate(vectors)]
    wanted = 0.7 * oracles.elected(kept, shares)
    made = merged(f"della({density}, {epsilon}, gain=0.7)", vectors, shares)
    np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-7)


def test_sampling_keeps_the_expectation_and_prefers_the_large() -> None:
    value = np.repeat(reals([[0.1, -1.0, 10.0]]), 20_000, axis=0)
    kept = merged("sample(0.5, 0.3) | fedavg", [value])
    shares = (kept != 0).mean(0)
    np.testing.assert_allclose(shares, [0.2, 0.5, 0.8], atol=0.02)
    np.testing.assert_allclose(kept.mean(0), value[0], rtol=0.05)


@pytest.mark.parametrize(("density", "gamma"), [(0.9, 0.01), (0.5, 0.2), (0.3, 0.0)])
def test_breadcrumbs(density: float, gamma: float) -> None:
    vectors, shares = drawn(3, 7, 30), [2, 1, 4]
    kept = [crumbed(vector, density, gamma) for vector in vectors]
    made = merged(f"breadcrumbs({density}, {gamma})", vectors, shares)
    wanted = oracles.fedavg(kept, shares)
    np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-8)
    made = merged(f"breadcrumbs_ties({density}, {gamma})", vectors, shares)
    wanted = oracles.elected(kept, shares)
    np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-8)


def test_equal_magnitudes_go_by_position() -> None:
    made = merged("breadcrumbs(0.4, 0.2)", [[1.0, -1.0, 1.0, -1.0, 1.0]])
    assert made.tolist() == [0, -1, 1, 0, 0]


def test_a_scalar_and_a_single_column_are_sampled_at_the_density() -> None:
    column = np.ones((4000, 1))
    assert abs((merged("sample(0.5, 0.4) | fedavg", [column]) != 0).mean() - 0.5) < 0.05
    assert merged("sample(0.5, 0.4) | fedavg", [np.float64(1.0)]).shape == ()


@pytest.mark.parametrize(
    "text",
    [
        "della(0.1, 0.15)",
        "della(0.9, 0.15)",
        "della(0.5, -0.1)",
        "della(0)",
        "breadcrumbs(0.9, 0.2)",
        "breadcrumbs(0.9, -0.1)",
        "breadcrumbs(0)",
        "trim_vector(0) | fedavg",
    ],
)
def test_windows_that_leave_the_range_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        recipe(text)

"""Contending members against plain definitions, and SCE against mergekit."""

import numpy as np
import pytest

from fedelta.aggregators.recipes import recipe
from fedelta.protocols.errors import ConfigError

from . import oracles
from .cases import Reals, Tolerance, drawn, merged, reals
from .test_spheres import peer

near: Tolerance = {"rtol": 1e-5, "atol": 1e-6}


def test_magmax_and_emr() -> None:
    """Marczak et al. 2024; Huang et al. 2024, section 3."""
    vectors = drawn(4, 5, 5)
    strongest, unified = np.zeros((5, 5)), np.zeros((5, 5))
    for i in range(25):
        column = [v.flat[i] for v in vectors]
        strongest.flat[i] = max(column, key=abs)
        sign = np.sign(sum(column))
        unified.flat[i] = sign * max(abs(x) for x in column if x * sign > 0)
    np.testing.assert_allclose(merged("magmax", vectors), strongest, **near)
    np.testing.assert_allclose(merged("emr(gain=0.5)", vectors), 0.5 * unified, **near)
    assert merged("magmax", [[2.0], [-2.0]]).tolist() == [2.0]
    assert merged("emr", [[2.0], [-2.0]]).tolist() == [0.0]


def sce(vectors: list[Reals], density: float) -> Reals:
    """Wan et al. 2024, section 3.3."""
    stack = np.array([v.reshape(-1) for v in vectors])
    variance = [float(np.var(column)) for column in stack.T]
    count = int(sum(v != 0 for v in variance) * density)
    order = sorted(range(len(variance)), key=lambda i: (-variance[i], i))[:count]
    kept = np.zeros_like(stack)
    kept[:, order] = stack[:, order]
    energy = [float((row**2).mean()) for row in kept]
    weights = [e / sum(energy) for e in energy]
    merged_ = np.zeros(stack.shape[1])
    for i, column in enumerate(kept.T):
        sign = np.sign(column.sum())
        side = [(w, x) for w, x in zip(weights, column, strict=True) if x * sign > 0]
        if side:
            merged_[i] = sum(w * x for w, x in side) / sum(w for w, _ in side)
    return merged_.reshape(vectors[0].shape)


@pytest.mark.parametrize("density", [0.3, 0.8])
def test_sce(density: float) -> None:
    vectors = drawn(3, 6, 20)
    np.testing.assert_allclose(
        merged(f"sce({density})", vectors), sce(vectors, density), **near
    )


@pytest.mark.peer("torch", "mergekit")
@pytest.mark.parametrize("density", [0.01, 0.3, 1.0])
def test_mergekits_sce(density: float) -> None:
    vectors = drawn(4, 12, 9)
    theirs = peer("sce", vectors, np.zeros((12, 9)), select_topk=density)
    made = merged(f"sce({density}, compat='mergekit')", vectors)
    np.testing.assert_allclose(made, theirs, **near)


def test_cabs() -> None:
    """Yang et al. 2025: n of m, each from what is left."""
    vectors, shares = drawn(3, 4, 7), [1, 2, 1]
    free, total = set(range(28)), np.zeros(28)
    for vector, share in zip(vectors, shares, strict=True):
        flat = vector.reshape(-1)
        for start in range(0, 28, 5):
            left = [i for i in range(start, min(start + 5, 28)) if i in free]
            for i in sorted(left, key=lambda i: (-abs(flat[i]), i))[:2]:
                total[i] += share * flat[i]
                free.discard(i)
    made = merged("cabs(2, 5)", vectors, shares).reshape(-1)
    np.testing.assert_allclose(made, total, **near)


def test_consensus_ta() -> None:
    """Wang et al. 2024, equations 4 and 6."""
    vectors, shares = drawn(5, 8, 3), [1, 1, 2, 1, 1]
    total = reals(sum(w * x for w, x in zip(shares, vectors, strict=True)))
    wanted = np.zeros((8, 3))
    for i in range(24):
        needed = [
            abs(v.flat[i]) >= 0.3 * abs(total.flat[i] - v.flat[i]) for v in vectors
        ]
        wanted.flat[i] = total.flat[i] if sum(needed) >= 3 else 0
    made = merged("consensus_ta(3, 0.3)", vectors, shares)
    np.testing.assert_allclose(made, wanted, **near)


def test_localize_and_stitch() -> None:
    """He et al. 2025: top-k masks, mean over those whose mask has the element."""
    vectors, shares = drawn(4, 6, 10), [1, 2, 3, 1]
    kept = [oracles.trimmed(v, 0.3) for v in vectors]
    wanted = np.zeros((6, 10))
    for i in range(60):
        there = [(w, v.flat[i]) for w, v in zip(shares, kept, strict=True) if v.flat[i]]
        if there:
            wanted.flat[i] = sum(w * x for w, x in there) / sum(w for w, _ in there)
    made = merged("localize_and_stitch(0.3)", vectors, shares)
    np.testing.assert_allclose(made, wanted, **near)


@pytest.mark.parametrize(
    "text", ["sce(0)", "sce(compat='peft')", "cabs(5, 4)", "consensus_ta(0)"]
)
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        recipe(text)

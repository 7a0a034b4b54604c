"""The merges as the papers write them: plain float64, one element at a time."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]


def fedavg(vectors: Sequence[Reals], weights: Sequence[float]) -> Reals:
    """McMahan et al. 2017: sum of n_k / n times w_k."""
    n = sum(weights)
    total = np.zeros_like(vectors[0])
    for vector, weight in zip(vectors, weights, strict=True):
        total += weight / n * vector
    return total


def task_arithmetic(
    vectors: Sequence[Reals], weights: Sequence[float], gain: float
) -> Reals:
    """Ilharco et al. 2023: lambda times the sum."""
    total = np.zeros_like(vectors[0])
    for vector, weight in zip(vectors, weights, strict=True):
        total += weight * vector
    return gain * total


def trimmed(tensor: Reals, density: float) -> Reals:
    """Yadav et al. 2023, step 1, exactly k kept and ties by position."""
    flat = tensor.reshape(-1)
    order = sorted(range(flat.size), key=lambda i: (-abs(flat[i]), i))
    k = math.ceil(density * flat.size)
    kept = [i for i in order[:k] if flat[i] != 0]
    out = np.zeros_like(flat)
    for i in kept:
        out[i] = flat[i]
    return out.reshape(tensor.shape)


def elected(
    vectors: Sequence[Reals], weights: Sequence[float], election: str = "mass"
) -> Reals:
    """Yadav et al. 2023, steps 2 and 3, weights before the election."""
    out = np.zeros(vectors[0].size)
    flats = [vector.reshape(-1) for vector in vectors]
    for i in range(out.size):
        ups = [(w, v[i]) for v, w in zip(flats, weights, strict=True) if v[i] > 0]
        downs = [(w, v[i]) for v, w in zip(flats, weights, strict=True) if v[i] < 0]
        if election == "mass":
            ahead = math.fsum(w * x for w, x in ups + downs)
        else:
            ahead = sum(w for w, _ in ups) - sum(w for w, _ in downs)
        side = ups if ahead > 0 else downs if ahead < 0 else []
        if side:
            out[i] = math.fsum(w * x for w, x in side) / math.fsum(w for w, _ in side)
    return out.reshape(vectors[0].shape)


def ties(
    vectors: Sequence[Reals],
    weights: Sequence[float],
    density: float,
    gain: float = 1.0,
    election: str = "mass",
) -> Reals:
    """Yadav et al. 2023, algorithm 1, on one tensor."""
    kept = [trimmed(vector, density) for vector in vectors]
    return gain * elected(kept, weights, election)


def dropped(vector: Reals, mask: npt.NDArray[np.bool_], density: float) -> Reals:
    """Yu et al. 2024: (1 - m) * delta / (1 - p), with 1 - p the density."""
    return np.where(mask.reshape(vector.shape), vector, 0.0) / density

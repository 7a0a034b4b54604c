"""What members have in common and what each has of its own, told apart."""

import math

import numpy as np

from ..protocols.errors import ConfigError
from .base import Recipe, Reducer
from .classics import gained
from .cohorts import Reals, by_tensors
from .factors import one_thread
from .rewrites import written

_STEPS, _CLOSE = 500, 1e-7


def separated(matrix: Reals, steps: int = _STEPS) -> tuple[Reals, Reals]:
    r"""A matrix as a low-rank and a sparse one (robust PCA).

    .. math:: \min \|L\|_* + \lambda \|S\|_1 \text{ with } L + S = M, \qquad
              \lambda = 1 / \sqrt{\max(m, n)}

    by alternating directions with step ``mu = m n / (4 \|M\|_1)``, until
    ``|M - L - S| <= 1e-7 |M|`` or the steps are spent; S is then M - L, so that the
    two add up whatever happened.

    Source: Candes, Li, Ma, Wright, `Robust Principal Component Analysis?
    <https://arxiv.org/abs/0912.3599>`_, 2011, algorithm 1.

    Args:
        matrix: [m, n]; the SVDs are of its smaller side.
        steps: at most.

    Example:
        >>> low = np.outer(np.ones(20), np.arange(1.0, 21))
        >>> one = np.zeros((20, 20)); one[3, 7] = 50
        >>> found, rest = separated(low + one)
        >>> bool(abs(found - low).max() < 1e-3), round(rest[3, 7])
        (True, 50)
    """
    size = float(np.linalg.norm(matrix))
    if size == 0:
        return matrix, np.zeros_like(matrix)
    weight = 1 / math.sqrt(max(matrix.shape))
    mu = matrix.size / (4 * float(np.abs(matrix).sum()))
    sparse, dual = np.zeros_like(matrix), np.zeros_like(matrix)
    for _ in range(steps):
        low = _lowered(matrix - sparse + dual / mu, 1 / mu)
        sparse = _shrunk(matrix - low + dual / mu, weight / mu)
        gap = matrix - low - sparse
        dual += mu * gap
        if float(np.linalg.norm(gap)) <= _CLOSE * size:
            break
    return low, matrix - low


def _shrunk(values: Reals, by: float) -> Reals:
    out: Reals = np.sign(values) * np.maximum(np.abs(values) - by, 0)
    return out


def _lowered(matrix: Reals, by: float) -> Reals:
    """Singular values shrunk, through the Gram matrix of the smaller side."""
    if matrix.shape[0] > matrix.shape[1]:
        return _lowered(matrix.T, by).T
    values, vectors = np.linalg.eigh(matrix @ matrix.T)
    sizes = np.sqrt(np.maximum(values, 0))
    kept = np.where(sizes > by, 1 - by / np.maximum(sizes, by), 0)
    out: Reals = (vectors * kept) @ (vectors.T @ matrix)
    return out


def amplified_mean(beta: float) -> Reducer:
    r"""Mean of what members have in common, plus the rest times a gain.

    .. math:: [x_1 .. x_K] = L + S, \qquad
              u = \sum_k w_k L_k + \beta \sum_k w_k S_k

    by tensor: members are the columns, each tensor flattened. At beta 1 this is the
    mean by weight.

    Source: Jhunjhunwala et al., `FedRPCA: Enhancing Federated LoRA Aggregation Using
    Robust PCA <https://arxiv.org/abs/2506.01194>`_, 2025. Only what its abstract says
    could be checked (robust PCA, mean of the one part, scaled mean of the other); the
    paper also sets beta from the parts' sizes, which is left to the caller here, and
    the steps of the robust PCA are those of `separated`.

    Cost: up to 500 eigenvalue problems of size K a tensor, several copies of the
    cohort's tensor in float64.
    """

    def rule(name: str, values: Reals, shares: Reals) -> Reals:  # noqa: ARG001
        if not values.size:
            return np.zeros(values.shape[1:])
        with one_thread():
            common, own = separated(values.reshape(len(values), -1))
        weights = shares / shares.sum()
        mean: Reals = weights @ common + beta * (weights @ own)
        return mean.reshape(values.shape[1:])

    return by_tensors(f"amplified_mean({beta!r})", rule)


def fedrpca(beta: float = 2.0, gain: float = 1.0) -> Recipe:
    """Mean of what is common, more of what is each one's own (see `amplified_mean`).

    Cost: one pass; up to 500 steps of O(K^2 n); several copies of the K tensors in
    float64.

    Source: Jhunjhunwala et al., 2025, as far as `amplified_mean` says.

    Raises:
        ConfigError: a beta that is not a finite number from 0.
    """
    if not 0 <= beta < math.inf:
        raise ConfigError(f"fedrpca: beta is {beta}, allowed: 0 and above")
    text = written("fedrpca", beta=beta, gain=gain)
    return Recipe(text, (), amplified_mean(beta), gained(gain))

"""Merges that weigh every element of every member by how it competes."""

import numpy as np

from ..protocols.errors import ConfigError
from .base import Recipe, Reducer
from .classics import gained
from .cohorts import SCOPES, Reals, by_tensors, by_vectors
from .rewrites import written
from .transforms import fraction

_TAIL = 1e-4
_LEAST = 1e-12


def balanced(density: float, scope: str) -> Reducer:
    r"""Mean by a score of each element: large in its member, agreed on by the others.

    .. math:: s_k = \exp\big(K\, n(|\hat x_k|)^2\big)\,
                    \tanh\Big(x_k \sum_j x_j\Big), \qquad
              u = \frac{\sum_k n(t(s_k))\, \hat x_k}{\sum_k n(t(s_k))}

    n maps a member's smallest value to 0 and its largest to 1; t lifts all but the
    ``density`` largest scores to the least of these, so that they weigh 0;
    :math:`\hat x` has its magnitudes held between their 0.01 % quantiles, counted as
    the authors' code does (of a few elements the largest is cut to the second).
    Where a member's scores are all equal they weigh 1. Weights are not used (a member
    of weight 0 is left out). The hyperbolic tangent takes changes as they are, so the
    result does not scale with them.

    Args:
        density: the share of each member's elements that weighs.
        scope: each "tensor", or the whole "vector" as the authors do.

    Cost: two sorts of every member; all members whole in float64 for "vector".

    Source: Du et al., `Parameter Competition Balancing for Model Merging
    <https://arxiv.org/abs/2410.02396>`_, 2024, section 3; checked against the authors'
    code.
    """
    fraction(density, "pcb")

    def rule(name: str, values: Reals, shares: Reals) -> Reals:  # noqa: ARG001
        if not values.size:
            return np.zeros(values.shape[1:])
        flat = values.reshape(len(values), -1)
        size = np.abs(flat)
        held = _between(size, _TAIL, _TAIL)
        within = np.exp(len(flat) * _spread(held) ** 2)
        score = within * np.tanh(flat * flat.sum(0))
        scale = _spread(_between(score, 1 - density, 0.0), same=1.0)
        moved = (np.sign(flat) * held * scale).sum(0)
        mean: Reals = moved / np.maximum(scale.sum(0), _LEAST)
        return mean.reshape(values.shape[1:])

    text = f"balanced({density!r}, {scope})"
    return by_tensors(text, rule) if scope == "tensor" else by_vectors(text, rule)


def _between(rows: Reals, below: float, above: float) -> Reals:
    """Rows with each held between two of its own values, by their ranks."""
    width = rows.shape[1]
    ranked = np.sort(rows, axis=1)
    low = ranked[:, int(width * below), np.newaxis]
    high = ranked[:, int(width * (1 - above) - 1), np.newaxis]
    held: Reals = np.minimum(np.maximum(rows, low), high)
    return held


def _spread(rows: Reals, same: float = 0.0) -> Reals:
    """Rows from 0 to 1; one number where all of a row are equal."""
    low, high = rows.min(1, keepdims=True), rows.max(1, keepdims=True)
    wide = high > low
    found: Reals = np.where(wide, (rows - low) / np.where(wide, high - low, 1), same)
    return found


def pcb(density: float = 0.1, gain: float = 1.0, scope: str = "tensor") -> Recipe:
    """Mean by how parameters compete within and between members (see `balanced`).

    Cost: one pass, two sorts of every member, O(K n log n); several copies of K tensors
    (or K whole members) in float64.

    Source: Du et al., 2024, as `balanced` says.

    Raises:
        ConfigError: a density outside (0, 1], or no such scope.
    """
    if scope not in SCOPES:
        raise ConfigError(f"pcb: scope is {scope!r}, allowed: tensor, vector")
    text = written("pcb", density=density, gain=gain, scope=scope)
    return Recipe(text, (), balanced(density, scope), gained(gain))

"""Robust means, by element: what a few members send cannot move them far.

All count every member once, whatever weight it claims (one of 0 is left out); what a
member left out counts as 0, so a sparse honest minority is trimmed like an outlier.
"""

import numpy as np

from ..protocols.errors import ConfigError
from .base import Recipe, Reducer
from .classics import gained
from .cohorts import Reals, by_rows
from .rewrites import written


def coordinate_median() -> Reducer:
    """The median of every element; of an even number the mean of the middle two.

    Cost: a selection among K values a coordinate.

    Source: Yin et al., `Byzantine-Robust Distributed Learning
    <https://arxiv.org/abs/1803.01498>`_, 2018, definition 1.
    """
    return by_rows("coordinate_median", _median)


def middle_mean(trim: float = 0.1) -> Reducer:
    r"""The mean of every element without its b largest and b smallest.

    .. math:: b = \lfloor t K \rfloor, \qquad
              u = \frac{1}{K - 2b} \sum_{i=b+1}^{K-b} x_{(i)}

    Cost: a sort of K values a coordinate.

    Source: Yin et al., `Byzantine-Robust Distributed Learning
    <https://arxiv.org/abs/1803.01498>`_, 2018, definition 2.

    Raises:
        ConfigError: a share outside [0, 0.5).
    """
    if not 0 <= trim < 0.5:  # noqa: PLR2004
        raise ConfigError(f"trimmed_mean: trim is {trim}, allowed: 0 to below 0.5")

    def rule(values: Reals, shares: Reals) -> Reals:  # noqa: ARG001
        return trimmed(values, int(trim * len(values) + _ROUND))

    return by_rows(f"middle_mean({trim!r})", rule)


_ROUND = 1e-9  # 0.2 of 5 members is 1 member


def trimmed(values: Reals, cut: int) -> Reals:
    """[n] the mean of [K, n] values without the `cut` largest and smallest."""
    held = np.sort(values, axis=0)[cut : len(values) - cut]
    mean: Reals = held.mean(0)
    return mean


def nearest_mean(values: Reals, count: int) -> Reals:
    """[n] the mean of the `count` values of [K, n] nearest to the median.

    Of two as near the one whose member comes first.
    """
    far = np.abs(values - np.median(values, axis=0))
    chosen = np.argsort(far, axis=0, kind="stable")[:count]
    mean: Reals = np.take_along_axis(values, chosen, axis=0).mean(0)
    return mean


def _median(values: Reals, shares: Reals) -> Reals:  # noqa: ARG001
    middle: Reals = np.median(values, axis=0)
    return middle


def median(gain: float = 1.0) -> Recipe:
    """The median by element (see `coordinate_median`).

    Cost: one pass, a selection among K values an element, O(K n); K spans in float64.

    Source: Yin et al., 2018, as `coordinate_median` says.
    """
    return Recipe(written("median", gain=gain), (), coordinate_median(), gained(gain))


def trimmed_mean(trim: float = 0.1, gain: float = 1.0) -> Recipe:
    """The mean by element without the largest and smallest (see `middle_mean`).

    Cost: one pass, a sort of K values an element, O(n K log K); K spans in float64.

    Source: Yin et al., 2018, as `middle_mean` says.
    """
    text = written("trimmed_mean", trim=trim, gain=gain)
    return Recipe(text, (), middle_mean(trim), gained(gain))

"""Robust means that walk: the geometric median and centred clipping.

Both stay within the span of the members (and 0), so they are computed on the Gram
matrix of the whole vector alone. Everybody counts once, unless told that weights are
to be believed; a member of weight 0 is left out, and what a member left out counts as
0.
"""

import math

import numpy as np

from ..protocols.errors import ConfigError
from .base import Key, Recipe, Reducer
from .classics import gained
from .cohorts import Reals, by_grams
from .rewrites import written


def norms_from(gram: Reals, center: Reals) -> Reals:
    """[K] distances of the members from ``sum_k center_k x_k``."""
    squares = np.diag(gram) - 2 * gram @ center + center @ gram @ center
    return np.sqrt(np.maximum(squares, 0.0))


def weiszfeld(steps: int, smoothing: float, *, weighted: bool) -> Reducer:
    r"""The smoothed geometric median by Weiszfeld's iteration, from the weighted mean.

    .. math:: v \leftarrow \frac{\sum_k \beta_k x_k}{\sum_k \beta_k}, \qquad
              \beta_k = \frac{w_k}{\max(\nu, \|v - x_k\|)}

    It stops after so many steps, or when no weight moves by more than 1e-12.

    Args:
        steps: at most so many.
        weighted: use the members' weights w_k; else all are 1.
        smoothing: nu, relative to the members' root mean square norm.

    Cost: the statistics pass; the iteration is on K numbers.

    Source: Pillutla, Kakade, Harchaoui, `Robust Aggregation for Federated Learning
    <https://arxiv.org/abs/1912.13445>`_, 2022, algorithm 2.
    """

    def weigh(gram: Reals, given: Reals, key: Key) -> Reals:  # noqa: ARG001
        given = given if weighted else np.ones_like(given)
        center = given / given.sum()
        nu = smoothing * math.sqrt(max(float(np.diag(gram).mean()), 0.0))
        for _ in range(steps):
            far = np.maximum(norms_from(gram, center), nu)
            pull = np.divide(given, far, out=np.where(far > 0, 0.0, 1.0), where=far > 0)
            moved = pull / pull.sum()
            done = float(np.abs(moved - center).max()) < _STILL
            center = moved
            if done:
                break
        out: Reals = center[np.newaxis]
        return out

    return by_grams(f"weiszfeld({steps}, {smoothing!r}, {weighted})", weigh)


_STILL = 1e-12


def clipped_center(radius: float, steps: int, *, weighted: bool) -> Reducer:
    r"""The mean of what lies around a centre, each pull clipped, from 0 on.

    .. math:: v \leftarrow v + \sum_k \frac{w_k}{W} (x_k - v)
              \min\Big(1, \frac{\tau}{\|x_k - v\|}\Big)

    Args:
        radius: tau; 0: the median of the members' norms.
        steps: how many.
        weighted: use the members' weights w_k; else all are 1.

    Cost: the statistics pass; the iteration is on K numbers.

    Source: Karimireddy, He, Jaggi, `Learning from History for Byzantine Robust
    Optimization <https://arxiv.org/abs/2012.10333>`_, 2021, algorithm 2 (there v starts
    from the last round's; a task vector starts from the last round's model).
    """

    def weigh(gram: Reals, given: Reals, key: Key) -> Reals:  # noqa: ARG001
        given = given if weighted else np.ones_like(given)
        weights = given / given.sum()
        center = np.zeros(len(gram))
        tau = radius or float(np.median(np.sqrt(np.diag(gram))))
        for _ in range(steps):
            far = norms_from(gram, center)
            pull = weights * np.minimum(1.0, tau / np.where(far > 0, far, np.inf))
            pull = np.where(far > 0, pull, weights)
            center = center * (1 - pull.sum()) + pull
        return center[np.newaxis]

    return by_grams(f"clipped_center({radius!r}, {steps}, {weighted})", weigh)


def geometric_median(
    steps: int = 100,
    smoothing: float = 1e-6,
    gain: float = 1.0,
    *,
    weighted: bool = False,
) -> Recipe:
    """The point with the least sum of distances (see `weiszfeld`).

    Cost: two passes (inner products, then the sum), O(K^2 n), and K^2 a step; K spans
    in float64.

    Source: Pillutla, Kakade, Harchaoui, 2022, as `weiszfeld` says.

    Raises:
        ConfigError: fewer than 1 step, or a smoothing below 0.
    """
    if steps < 1 or not smoothing >= 0:
        raise ConfigError(
            f"geometric_median: steps {steps}, smoothing {smoothing}, allowed: steps "
            "from 1, smoothing from 0"
        )
    more = {"weighted": True} if weighted else {}
    knobs = {"steps": steps, "smoothing": smoothing, "gain": gain}
    reducer = weiszfeld(steps, smoothing, weighted=weighted)
    text = written("geometric_median", **knobs, **more)
    return Recipe(text, (), reducer, gained(gain))


def centered_clipping(
    radius: float = 0.0, steps: int = 3, gain: float = 1.0, *, weighted: bool = False
) -> Recipe:
    """The mean, every pull clipped to a radius (see `clipped_center`).

    Cost: two passes (inner products, then the sum), O(K^2 n), and K^2 a step; K spans
    in float64.

    Source: Karimireddy, He, Jaggi, 2021, as `clipped_center` says.

    Raises:
        ConfigError: a radius below 0, or fewer than 1 step.
    """
    if not 0 <= radius < math.inf or steps < 1:
        raise ConfigError(
            f"centered_clipping: radius {radius}, steps {steps}, allowed: radius from "
            "0 (0: the median norm), steps from 1"
        )
    more = {"weighted": True} if weighted else {}
    knobs = {"radius": radius, "steps": steps, "gain": gain}
    reducer = clipped_center(radius, steps, weighted=weighted)
    text = written("centered_clipping", **knobs, **more)
    return Recipe(text, (), reducer, gained(gain))

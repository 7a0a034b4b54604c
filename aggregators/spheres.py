"""Merges along the sphere: directions are averaged as angles, lengths apart.

Each result is a weighted sum of the members, so they need the Gram matrix alone, by
tensor or of the whole vector. Against a base they act on changes; without one, as
mergekit does, on the weights themselves.
"""

import math
from dataclasses import replace

import numpy as np

from ..protocols.errors import ConfigError, QuorumError
from .base import Key, Recipe, Reducer
from .classics import gained
from .cohorts import SCOPES, Reals, by_grams, by_tensors
from .rewrites import written

NEAR = 0.9995
_TINY = 1e-8


def arc(cosine: float, t: float, near: float) -> tuple[float, float]:
    """What two vectors are multiplied by, on the way from the first to the second.

    Args:
        cosine: between them.
        t: 0 the first, 1 the second.
        near: straight where the cosine's magnitude is above.
    """
    if not abs(cosine) <= near:
        return 1 - t, t
    angle = math.acos(cosine)
    return (
        math.sin((1 - t) * angle) / math.sin(angle),
        math.sin(t * angle) / math.sin(angle),
    )


def along_arc(t: float | None, scope: str, near: float) -> Reducer:
    r"""Between two members, at constant angular speed.

    .. math:: u = \frac{\sin((1-t)\theta)}{\sin\theta} x_1
                + \frac{\sin(t\theta)}{\sin\theta} x_2

    Straight where they are (anti)parallel or one of them is zero. The members are taken
    in name order (in `fedelta merge` as given).

    Args:
        t: how far; None: the second's share of the weight.
        scope: the angle of each "tensor" or of the whole "vector"; "rows" and "columns"
            (of a matrix; the last axis, the first) turn each by itself.
        near: straight where the cosine's magnitude is above.

    Source: Shoemake, `Animating rotation with quaternion curves
    <https://doi.org/10.1145/325165.325242>`_, 1985.

    Raises:
        QuorumError: not two members.
    """

    def share(given: Reals) -> float:
        if len(given) != 2:  # noqa: PLR2004
            raise QuorumError(f"an arc joins two models, not {len(given)}")
        return float(given[1] / given.sum()) if t is None else t

    def weigh(gram: Reals, given: Reals, key: Key) -> Reals:  # noqa: ARG001
        way = share(given)
        both = math.sqrt(gram[0, 0] * gram[1, 1])
        cosine = min(max(gram[0, 1] / both, -1.0), 1.0) if both else 1.0
        return np.array([arc(cosine, way, near)])

    def by_axis(name: str, values: Reals, given: Reals) -> Reals:  # noqa: ARG001
        way = share(given)
        axis = 0 if scope == "columns" else -1
        first, second = values
        inner = (first * second).sum(axis, keepdims=True)
        squares = [(one**2).sum(axis, keepdims=True) for one in values]
        both = np.sqrt(squares[0] * squares[1])
        cosine = np.divide(inner, both, out=np.ones_like(inner), where=both > 0)
        arcs = [arc(float(one), way, near) for one in np.clip(cosine, -1, 1).flat]
        parts = np.array(arcs).reshape(*cosine.shape, 2)
        turned: Reals = parts[..., 0] * first + parts[..., 1] * second
        return turned

    text = f"along_arc({t!r}, {scope}, {near!r})"
    if scope in SCOPES:
        return by_grams(text, weigh, scope)
    return by_tensors(text, by_axis)


def length(weights: Reals, gram: Reals) -> float:
    """Length of a weighted sum of members."""
    return math.sqrt(max(float(weights @ gram @ weights), 0.0))


def around_mean(scope: str) -> Reducer:
    r"""Barycentric interpolation in the tangent space at the mean direction.

    .. math:: m = \frac{\sum_k w_k \hat x_k}{\|\cdot\|}, \quad
              v = \sum_k w_k (\hat x_k - (\hat x_k \cdot m)\, m), \quad
              u = \Big(\sum_k w_k \|x_k\|\Big)
                  \Big(m \cos\|v\| + \frac{v}{\|v\|} \sin\|v\|\Big)

    with weights that add up to 1. Where the directions cancel, the weighted mean.

    Source: Goddard, `MultiSLERP
    <https://goddard.blog/posts/multislerp-wow-what-a-cool-idea>`_, 2025.
    """

    def weigh(gram: Reals, given: Reals, key: Key) -> Reals:  # noqa: ARG001
        weights = given / given.sum()
        sizes = np.sqrt(np.diag(gram))
        mean = weights / (sizes + _TINY)
        size = length(mean, gram)
        if size < _TINY:
            straight: Reals = weights.reshape(1, -1)
            return straight
        mean = mean / size
        dots = (gram @ mean) / (sizes + _TINY)
        tangent = weights / (sizes + _TINY) - float(weights @ dots) * mean
        turn = length(tangent, gram) + _TINY
        turned = mean * math.cos(turn) + tangent * (math.sin(turn) / turn)
        out: Reals = turned * float(weights @ sizes)
        return out.reshape(1, -1)

    return by_grams(f"around_mean({scope})", weigh, scope)


def sphere_mean(steps: int, tolerance: float, scope: str) -> Reducer:
    r"""The Karcher mean of the directions, times the mean length.

    From the weighted mean of the directions, step by step along

    .. math:: v = \sum_k w_k \frac{\theta_k}{\sin\theta_k}
                  (\hat x_k - \cos\theta_k\, m), \qquad
              m \leftarrow m \cos\|v\| + \frac{v}{\|v\|} \sin\|v\|

    until a step is shorter than the tolerance. Members shorter than the tolerance have
    no direction, but their length counts.

    Source: Karcher, `Riemannian center of mass
    <https://doi.org/10.1002/cpa.3160300502>`_, 1977; as mergekit applies it.
    """

    def weigh(gram: Reals, given: Reals, key: Key) -> Reals:  # noqa: ARG001
        weights = given / given.sum()
        sizes = np.sqrt(np.diag(gram))
        held = sizes > tolerance
        if not held.any():
            return np.zeros((1, len(gram)))
        unit = np.divide(1.0, sizes, out=np.zeros_like(sizes), where=held)
        pulls = np.where(held, weights, 0) / weights[held].sum()
        mean = pulls * unit
        size = length(mean, gram)
        first = np.zeros(len(gram))
        first[np.argmax(held)] = unit[held][0]
        mean = first if size < tolerance else mean / size
        for _ in range(steps):
            moved = _stepped(mean, pulls, unit, gram, tolerance)
            if moved is None:
                break
            mean = moved
        out: Reals = (mean * float(weights @ sizes))[np.newaxis]
        return out

    return by_grams(f"sphere_mean({steps}, {tolerance!r}, {scope})", weigh, scope)


def _stepped(
    mean: Reals, pulls: Reals, unit: Reals, gram: Reals, tolerance: float
) -> Reals | None:
    """One step of the Karcher mean; None where it would be too short."""
    dots = np.clip((gram @ mean) * unit, -1, 1)
    angles = np.arccos(dots)
    far = (angles >= tolerance) & (pulls > 0)
    sines = np.sin(angles)
    rates = np.divide(pulls * angles, sines, out=np.zeros_like(pulls), where=far)
    tangent = rates * unit - float(rates @ dots) * mean
    size = length(tangent, gram)
    if size < tolerance:
        return None
    moved: Reals = mean * math.cos(size) + tangent * (math.sin(size) / size)
    return moved / length(moved, gram)


def _free(text: str, reducer: Reducer, gain: float) -> Recipe:
    return replace(Recipe(text, (), reducer, gained(gain)), baseless=True)


def _scoped(scope: str, what: str, *more: str) -> str:
    if scope not in (*SCOPES, *more):
        allowed = ", ".join((*SCOPES, *more))
        raise ConfigError(f"{what}: scope is {scope!r}, allowed: {allowed}")
    return scope


def slerp(t: float = 0.5, scope: str = "tensor", gain: float = 1.0) -> Recipe:
    """From one model to another along the arc (see `along_arc`).

    Cost: two passes (inner products, then the sum), O(n); two spans in float64.

    Source: Shoemake, 1985, as `along_arc` says.
    """
    if not math.isfinite(t):
        raise ConfigError(f"slerp: t is {t}, allowed: a finite number, 0 to 1 between")
    text = written("slerp", t=t, scope=scope, gain=gain)
    return _free(text, along_arc(t, _scoped(scope, "slerp"), NEAR), gain)


def nuslerp(scope: str = "tensor", gain: float = 1.0) -> Recipe:
    """Slerp whose place follows from two weights (see `along_arc`).

    Cost: as `slerp`; by rows or columns one pass and both tensors in float64, O(n).

    Source: Shoemake, 1985, as `along_arc` says; the weights as in mergekit.
    """
    text = written("nuslerp", scope=scope, gain=gain)
    held = _scoped(scope, "nuslerp", "rows", "columns")
    return _free(text, along_arc(None, held, math.sqrt(1 - _TINY**2)), gain)


def multislerp(scope: str = "tensor", gain: float = 1.0) -> Recipe:
    """Several models on the sphere around their mean (see `around_mean`).

    Cost: two passes (inner products, then the sum), O(K^2 n); K spans in float64.

    Source: Goddard, 2025, as `around_mean` says.
    """
    text = written("multislerp", scope=scope, gain=gain)
    return _free(text, around_mean(_scoped(scope, "multislerp")), gain)


def karcher(
    steps: int = 10, tolerance: float = 1e-5, scope: str = "tensor", gain: float = 1.0
) -> Recipe:
    """The mean on the sphere (see `sphere_mean`).

    Cost: two passes (inner products, then the sum), O(K^2 n), and K^2 a step and
    tensor; K spans in float64.

    Source: Karcher, 1977, as `sphere_mean` says.
    """
    if steps < 0 or not tolerance > 0:
        raise ConfigError(
            f"karcher: steps {steps}, tolerance {tolerance}, allowed: steps from 0, "
            "tolerance above 0"
        )
    text = written("karcher", steps=steps, tolerance=tolerance, scope=scope, gain=gain)
    return _free(text, sphere_mean(steps, tolerance, _scoped(scope, "karcher")), gain)

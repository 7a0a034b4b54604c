"""Merges whose coefficients follow from the members' norms and angles."""

import numpy as np

from ..protocols.errors import ConfigError
from .base import Key, Recipe, Reducer
from .classics import gained
from .cohorts import SCOPES, Reals, by_grams
from .rewrites import written

_SINGULAR = 1e-6


def toward_base(scope: str) -> Reducer:
    r"""The plain mean, drawn to the base the more the members disagree.

    .. math:: u = t \, \bar x, \qquad t = \frac{K c}{1 + (K - 1)\, c}, \qquad
              c = \frac{2}{K (K-1)} \sum_{j<k} \cos(x_j, x_k)

    by tensor or over the whole vector. One member: u = x. Where the denominator
    vanishes, and where nothing moved, u = 0. Pairs with a zero vector have cosine 0;
    weights are not used (a member of weight 0 is left out).

    Cost: the statistics pass.

    Source: Jang, Yun, Han, `Model Stock <https://arxiv.org/abs/2403.19522>`_, 2024,
    equation 8.
    """

    def weigh(gram: Reals, given: Reals, key: Key) -> Reals:  # noqa: ARG001
        count = len(gram)
        if count == 1:
            return np.ones((1, 1))
        sizes = np.sqrt(np.diag(gram))
        product = np.outer(sizes, sizes)
        cosines = np.divide(gram, product, out=np.zeros_like(gram), where=product > 0)
        mean = float(cosines[np.triu_indices(count, 1)].mean())
        below = 1 + (count - 1) * mean
        t = count * mean / below if abs(below) >= _SINGULAR else 0.0
        return np.full((1, count), t / count)

    return by_grams(f"toward_base({scope})", weigh, scope)


def by_norm(scope: str) -> Reducer:
    r"""A sum, each member by its share of the squared norms.

    .. math:: u = \sum_k \lambda_k x_k, \qquad
              \lambda_k = \frac{\|x_k\|^2}{\sum_j \|x_j\|^2}

    over the whole vector (MetaGPT) or by tensor. Weights are not used (a member of
    weight 0 is left out); where nothing moved, u = 0.

    Cost: the statistics pass.

    Source: Zhou et al., `MetaGPT: Merging Large Language Models Using Model Exclusive
    Task Arithmetic <https://arxiv.org/abs/2406.11385>`_, 2024, equation 12.
    """

    def weigh(gram: Reals, given: Reals, key: Key) -> Reals:  # noqa: ARG001
        squares = np.diag(gram)
        total = float(squares.sum())
        return (squares / total if total else np.zeros_like(squares))[np.newaxis]

    return by_grams(f"by_norm({scope})", weigh, scope)


def by_size(power: float, scope: str) -> Reducer:
    r"""A mean, each member by a power of its Frobenius norm.

    .. math:: u = \frac{\sum_k \|x_k\|_F^p\, x_k}{\sum_k \|x_k\|_F^p}

    by tensor or over the whole vector; p = 0 is the plain mean, p = 2 the weights of
    `by_norm`. Weights are not used (a member of weight 0 is left out); where nothing
    moved, u = 0.

    Cost: the statistics pass.

    Source: in the manner of Li et al., `FroM: Frobenius Norm-Based Data-Free Adaptive
    Model Merging <https://arxiv.org/abs/2506.02478>`_, 2025. Its abstract could be
    checked (coefficients by the Frobenius norm instead of RegMean's activations, one
    number more for control), its equation could not: where the two differ, the paper
    is right and this name is not.
    """

    def weigh(gram: Reals, given: Reals, key: Key) -> Reals:  # noqa: ARG001
        sizes = np.sqrt(np.maximum(np.diag(gram), 0))
        top = float(sizes.max())
        if not top:
            return np.zeros((1, len(gram)))
        scaled: Reals = (sizes / top) ** power
        weights: Reals = (scaled / scaled.sum())[np.newaxis]
        return weights

    return by_grams(f"by_size({power!r}, {scope})", weigh, scope)


def model_stock(scope: str = "tensor", gain: float = 1.0) -> Recipe:
    """The mean, drawn to the base by the angles between members (see `toward_base`).

    Cost: two passes (inner products, then the sum), O(K^2 n); K spans in float64.

    Source: Jang, Yun, Han, 2024, as `toward_base` says.
    """
    text = written("model_stock", scope=scope, gain=gain)
    return Recipe(text, (), toward_base(_scoped(scope, "model_stock")), gained(gain))


def metagpt(scope: str = "vector", gain: float = 1.0) -> Recipe:
    """A sum by squared norms (see `by_norm`).

    Cost: two passes (inner products, then the sum), O(K^2 n); K spans in float64.

    Source: Zhou et al., 2024, as `by_norm` says.
    """
    text = written("metagpt", scope=scope, gain=gain)
    return Recipe(text, (), by_norm(_scoped(scope, "metagpt")), gained(gain))


def fromm(power: float = 1.0, scope: str = "tensor", gain: float = 1.0) -> Recipe:
    """A mean by Frobenius norms (see `by_size`, also for what is not certain).

    Cost: two passes (inner products, then the sum), O(K^2 n); K spans in float64.

    Source: in the manner of Li et al., 2025, as `by_size` says.

    Raises:
        ConfigError: a power that is not a finite number from 0.
    """
    if not 0 <= power < float("inf"):
        raise ConfigError(f"fromm: power is {power}, allowed: 0 and above")
    text = written("fromm", power=power, scope=scope, gain=gain)
    return Recipe(text, (), by_size(power, _scoped(scope, "fromm")), gained(gain))


def _scoped(scope: str, what: str) -> str:
    if scope not in SCOPES:
        raise ConfigError(f"{what}: scope is {scope!r}, allowed: tensor, vector")
    return scope

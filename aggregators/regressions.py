"""Merging by regression: each linear layer's outputs stay near to every client's."""

import numpy as np

from ..protocols.errors import BoundsError, ConfigError, PayloadError
from ..protocols.vectors import Contribution, Floats, Layout
from .base import Key, Recipe, Transform
from .classics import gained
from .cohorts import Reals
from .factors import one_thread
from .furthers import GRAM
from .products import Subset, tensor
from .rewrites import Rewritten, written
from .sums import weighted_mean

_RIDGE = 1e-6


def _damped(gram: Floats, alpha: float, name: str) -> Reals:
    """A Gram matrix with smaller off-diagonals and a ridge, [in, in]."""
    given = gram.astype(np.float64)
    if not np.isfinite(given).all() or (np.diag(given) < 0).any():
        raise BoundsError("is no Gram matrix", tensor=name)
    damped: Reals = alpha * given + (1 - alpha) * np.diag(np.diag(given))
    ridge = _RIDGE * float(np.trace(given)) / len(given) or _RIDGE
    return damped + ridge * np.eye(len(given))


def _held(layout: Layout) -> None:
    """Hold Gram matrices to be about a tensor, and to fit it."""
    shapes = dict(zip(layout.names, layout.shapes, strict=True))
    for name, shape in shapes.items():
        if not name.endswith(GRAM):
            continue
        about = shapes.get(name.removesuffix(GRAM))
        if about is None or len(about) < 2 or shape != (about[-1],) * 2:  # noqa: PLR2004
            raise PayloadError(f"shape {shape} fits no layer {about}", tensor=name)
    if not any(name.endswith(GRAM) for name in layout.names):
        raise PayloadError(f"regmean needs Gram matrices, tensors NAME{GRAM}")


def regmean(alpha: float = 0.9, gain: float = 1.0) -> Recipe:
    r"""By linear layer the weights whose outputs are nearest to every client's.

    .. math:: u = \Big(\sum_k w_k x_k G'_k\Big) \Big(\sum_k w_k G'_k\Big)^{-1}, \qquad
              G'_k = \alpha G_k + (1 - \alpha)\, \mathrm{diag}(G_k)

    with x as [out, in] and :math:`G_k = X_k^T X_k / n_k` [in, in], the mean outer
    product of the layer's inputs on the client's own data, sent as the tensors
    ``NAME|gram``. A ridge of 1e-6 of the mean diagonal makes it invertible; where an
    input never moves this is a mean (by share and by the size of the client's inputs),
    and by share alone for every tensor without a Gram matrix (embeddings, biases,
    norms). Only where weights change whole: in ``full``.

    G is a statistic of private activations, [in, in] of them a layer, and is not
    protected by clipping or noise on the changes: do not use it under a privacy budget.

    Cost: one pass; a matrix product a layer and client, O(K out in^2), a solve a layer,
    O(out in^2 + in^3); in x in more a layer on the wire, a tensor a member in memory.

    Source: Jin et al., `Dataless Knowledge Fusion by Merging Weights of Language Models
    <https://arxiv.org/abs/2212.09849>`_, 2023, equation 2 and section 3.3.

    Raises:
        ConfigError: alpha outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"regmean: alpha is {alpha}, allowed: 0 to 1")

    def weigh(contribution: Contribution, key: Key) -> Contribution:
        _held(contribution.layout)
        names = set(contribution.layout.names)

        def make(name: str, value: Floats, key: Key) -> Floats:  # noqa: ARG001
            if name.endswith(GRAM):
                return _damped(value, alpha, name).astype(np.float32)
            if name + GRAM not in names:
                return value
            gram = _damped(tensor(contribution, name + GRAM), alpha, name + GRAM)
            with one_thread():
                made = value.reshape(-1, len(gram)) @ gram.astype(np.float32)
            return made.reshape(value.shape)

        return Rewritten(contribution, make, key)

    return Recipe(
        written("regmean", alpha=alpha, gain=gain),
        (Transform("regressed()", weigh),),
        weighted_mean(),
        after=(_solved(gained(gain)),),
        spaces=("full",),
    )


def _solved(gain: float) -> Transform:
    def apply(contribution: Contribution, key: Key) -> Contribution:
        given = contribution.layout
        names = set(given.names)
        layout = Layout.of(
            {n: given.shapes[given.place(n)] for n in names if not n.endswith(GRAM)}
        )

        def make(name: str, value: Floats, key: Key) -> Floats:  # noqa: ARG001
            if name + GRAM not in names:
                return np.float32(gain) * value
            gram = tensor(contribution, name + GRAM).astype(np.float64)
            above = value.reshape(-1, len(gram)).astype(np.float64)
            with one_thread():
                made = gain * np.linalg.solve(gram.T, above.T).T
            return made.reshape(value.shape).astype(np.float32)

        return Rewritten(Subset(contribution, layout.names), make, key)

    return Transform(f"solved({gain!r})", apply)

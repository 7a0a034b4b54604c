"""Merges of singular values and directions, matrix by matrix.

What has fewer than two axes is averaged by weight; more axes are flattened behind the
first. SVDs run on one thread in float64. Low-rank changes are merged through their
factors: by two QR factorisations in the core that all members span, which gives what
the dense matrices give. Dense ones must fit in memory, one weight of all members at a
time. Singular values that are zero to rounding have no directions and are left out.
Weights are not used within a matrix (a member of weight 0 is left out).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ..protocols.errors import ConfigError
from ..protocols.vectors import Floats
from .base import Factors, Key, Recipe, Reducer, Transform
from .classics import gained
from .cohorts import Reals, by_tensors
from .factors import one_thread
from .rewrites import rewriting, written
from .sums import weighted_mean
from .transforms import fraction

Rule = Callable[[Reals, int], Reals]  # [K, out, in], full rank -> [out, in]


_ZERO = 1e-6  # of the largest; below it is the rounding of float32 products


def by_matrices(text: str, rule: Rule, *, turns: bool = True) -> Reducer:
    """A rule over matrices, a weighted mean for everything else.

    Args:
        text: how it is called.
        rule: over members, with the rank that the matrices could have.
        turns: whether the rule commutes with rotations of the inputs, as it must with
            those of the outputs: then low-rank changes are merged in the core that
            both span, else in the space of their outputs.
    """

    def apply(name: str, values: Reals, shares: Reals) -> Reals:  # noqa: ARG001
        if values.ndim < 3 or not values.size:  # noqa: PLR2004
            mean: Reals = np.tensordot(shares / shares.sum(), values, 1)
            return mean
        flat = values.reshape(*values.shape[:2], -1)
        with one_thread():
            return rule(flat, min(flat.shape[1:])).reshape(values.shape[1:])

    def cored(pairs: Sequence[Factors]) -> Factors:
        wide, deep = pairs[0][0].shape[0], pairs[0][1].shape[1]
        left, above = np.linalg.qr(np.concatenate([b for b, _ in pairs], axis=1))
        if not turns:
            sides = _split(above, [b.shape[1] for b, _ in pairs])
            values = [x @ a for x, (_, a) in zip(sides, pairs, strict=True)]
            return left, rule(np.array(values), min(wide, deep))
        right, below = np.linalg.qr(np.concatenate([a for _, a in pairs]).T)
        sizes = [b.shape[1] for b, _ in pairs]
        both = zip(_split(above, sizes), _split(below, sizes), strict=True)
        core = rule(np.array([x @ y.T for x, y in both]), min(wide, deep))
        return left @ core, right.T

    return replace(by_tensors(text, apply), cored=cored)


def _split(matrix: Reals, sizes: Sequence[int]) -> list[Reals]:
    """Its columns, so many a member."""
    return np.split(matrix, np.cumsum(sizes)[:-1], axis=1)


def parts(matrix: Reals) -> tuple[Reals, Reals, Reals]:
    """Its singular vectors and values U [out, r], s [r], V^T [r, in], without zeros.

    What is zero to rounding has no direction of its own and is left out.
    """
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    count = int(np.count_nonzero(s > s[:1].sum() * _ZERO))
    return u[:, :count], s[:count], vt[:count]


def nearest(matrix: Reals) -> Reals:
    """The matrix with orthonormal columns (or rows) that is nearest to it."""
    u, _, vt = np.linalg.svd(matrix, full_matrices=False)
    polar: Reals = u @ vt
    return polar


def singular_vectors(share: float) -> Reducer:
    r"""Keep each member's first singular vectors, decorrelate them across members.

    .. math:: U = [U_1 .. U_K],\; S = \mathrm{diag}(S_1, .., S_K),\; V = [V_1 .. V_K],
              \qquad u = U_\perp S V_\perp^T

    with the first ``max(1, int(share r))`` of r triplets each, and U_perp, V_perp the
    nearest orthonormal ones (polar factors).

    Args:
        share: of each member's triplets; 0: 1 / K.

    Source: Gargiulo et al., `Task Singular Vectors
    <https://arxiv.org/abs/2412.00081>`_, 2025, algorithm 1.
    """

    def rule(values: Reals, rank: int) -> Reals:
        count = max(1, int(rank * (share or 1 / len(values))))
        held = [parts(one) for one in values]
        left = np.concatenate([u[:, :count] for u, _, _ in held], axis=1)
        middle = np.concatenate([s[:count] for _, s, _ in held])
        right = np.concatenate([vt[:count] for _, _, vt in held], axis=0)
        out: Reals = (nearest(left) * middle) @ nearest(right)
        return out

    return by_matrices(f"singular_vectors({share!r})", rule)


def isotropic(common: float) -> Reducer:
    r"""The sum, all its singular values replaced by their mean.

    .. math:: \sum_k x_k = U S V^T, \qquad u = \bar s\, U V^T

    With `common` below 1 (Iso-CTS) each member adds the first
    ``round((r - int(common r)) / K)`` directions of what it has outside the sum's first
    ones, which fill what is left of the r; all are made orthonormal (polar factors) and
    share the mean of their singular values. A member's part is what lies outside the
    common left singular vectors, as in the authors' code.

    Source: Marczak et al., `No Task Left Behind
    <https://arxiv.org/abs/2502.04959>`_, 2025, algorithms 1 and 2.
    """

    def rule(values: Reals, rank: int) -> Reals:
        u, s, vt = parts(values.sum(0))
        if not s.size:
            return np.zeros(values.shape[1:])
        if common == 1:
            even: Reals = s.mean() * (u @ vt)
            return even
        rank = len(s)
        own = round((rank - int(common * rank)) / len(values))
        own = min(own, rank // len(values))
        first = rank - own * len(values)
        lefts, sizes, rights = [u[:, :first]], [s[:first]], [vt[:first]]
        for one in values:
            rest = one - u[:, :first] @ (u[:, :first].T @ one)
            a, b, c = parts(rest)
            lefts.append(a[:, :own])
            sizes.append(b[:own])
            rights.append(c[:own])
        left = nearest(np.concatenate(lefts, axis=1))
        right = nearest(np.concatenate(rights, axis=0))
        out: Reals = np.concatenate(sizes).mean() * (left @ right)
        return out

    return by_matrices(f"isotropic({common!r})", rule)


def aligned(density: float) -> Reducer:
    r"""TIES in one space for all: members side by side, their SVD, merged right halves.

    .. math:: [x_1 .. x_K] = U S [V_1^T .. V_K^T], \qquad
              u = U S \cdot \mathrm{ties}(V_1^T, .., V_K^T)

    Equal weights; the trim keeps ``ceil(density n)`` of each right half.

    Source: Stoica et al., `Model merging with SVD to tie the KnOTS
    <https://arxiv.org/abs/2410.19735>`_, 2025, section 4.
    """
    fraction(density, "knots")

    def rule(values: Reals, rank: int) -> Reals:  # noqa: ARG001
        count, _, width = values.shape
        u, s, vt = parts(np.concatenate(list(values), axis=1))
        halves = vt.reshape(len(s), count, width).transpose(1, 0, 2)
        kept = halves * np.array([_largest(one, density) for one in halves])
        sign = np.sign(kept.sum(0))
        agree = (np.sign(kept) == sign) & (kept != 0)
        merged = (kept * agree).sum(0) / np.maximum(agree.sum(0), 1)
        out: Reals = (u * s) @ merged
        return out

    return by_matrices(f"aligned({density!r})", rule, turns=False)


def _largest(value: Reals, density: float) -> Reals:
    mask = np.zeros(value.size)
    count = int(np.ceil(density * value.size))
    mask[np.argsort(-np.abs(value.reshape(-1)), kind="stable")[:count]] = 1
    return mask.reshape(value.shape)


def truncate(energy: float = 0.4) -> Transform:
    r"""Keep the first singular values that hold a share of their sum, and rescale.

    .. math:: y = \frac{\sum_i s_i}{\sum_{i \le r} s_i}
              \sum_{i \le r} s_i u_i v_i^T, \qquad
              r = \min\Big\{r : \sum_{i \le r} s_i \ge \eta \sum_i s_i\Big\}

    by matrix; what has fewer than two axes stays.

    Cost: an SVD a matrix with sides a >= b in each pass, O(a b^2); the largest matrix
    and its singular vectors in float64.

    Source: Lee et al., `STAR: Spectral Truncation and Rescale
    <https://arxiv.org/abs/2502.10339>`_, 2025, section 3.

    Raises:
        ConfigError: a share outside (0, 1].
    """
    fraction(energy, "truncate")

    def make(name: str, value: Floats, key: Key) -> Floats:  # noqa: ARG001
        if value.ndim < 2 or not value.any():  # noqa: PLR2004
            return value
        with one_thread():
            u, s, vt = parts(value.reshape(len(value), -1).astype(np.float64))
            reached = np.cumsum(s) >= energy * s.sum() * (1 - 2.0**-50)
            rank = int(np.argmax(reached)) + 1
            factor = s.sum() / s[:rank].sum()
            made: Reals = factor * (u[:, :rank] * s[:rank]) @ vt[:rank]
        return made.reshape(value.shape).astype(np.float32)

    return rewriting(written("truncate", energy=energy), make)


def tsv(share: float = 0.0, gain: float = 1.0) -> Recipe:
    """Task singular vectors, decorrelated (see `singular_vectors`).

    Cost: one pass; K + 2 SVDs a matrix with sides a >= b, O(K a b^2) at the default
    share, and K matrices with their singular vectors in float64. For low-rank changes
    of R ranks together two QRs and SVDs in the core, O(a R^2 + K R^3).

    Source: Gargiulo et al., 2025, as `singular_vectors` says.
    """
    if share:
        fraction(share, "tsv")
    text = written("tsv", share=share, gain=gain)
    return Recipe(text, (), singular_vectors(share), gained(gain))


def iso_c(gain: float = 1.0) -> Recipe:
    """The sum with one singular value throughout (see `isotropic`).

    Cost: as `tsv`, but one SVD a matrix, O(K a b + a b^2), in the core O(a R^2 + R^3).

    Source: Marczak et al., 2025, as `isotropic` says.
    """
    return Recipe(written("iso_c", gain=gain), (), isotropic(1.0), gained(gain))


def iso_cts(common: float = 0.8, gain: float = 1.0) -> Recipe:
    """The same with room for what is each member's own (see `isotropic`).

    Cost: as `tsv`, with K + 3 SVDs a matrix.

    Source: Marczak et al., 2025, as `isotropic` says.
    """
    if not 0 <= common < 1:
        raise ConfigError(f"iso_cts: common is {common}, allowed: 0 to below 1")
    text = written("iso_cts", common=common, gain=gain)
    return Recipe(text, (), isotropic(common), gained(gain))


def star(energy: float = 0.4, gain: float = 1.0) -> Recipe:
    """Truncate each member's spectrum, rescale, average (see `truncate`).

    Cost: as `truncate` for each member, then as `fedavg`, by the dense matrices.

    Source: Lee et al., 2025, as `truncate` says.
    """
    text = written("star", energy=energy, gain=gain)
    return Recipe(text, (truncate(energy),), weighted_mean(), gained(gain))


def knots(density: float = 0.3, gain: float = 1.0) -> Recipe:
    """TIES in the singular space of all members (see `aligned`).

    Cost: one pass; an SVD of [a, K b] a matrix [a, b], O(K a b min(a, K b)), and a sort
    of each right half; K matrices and these in float64. For low-rank changes of R ranks
    together the SVD is of [R, K b].

    Source: Stoica et al., 2025, as `aligned` says.
    """
    text = written("knots", density=density, gain=gain)
    return Recipe(text, (), aligned(density), gained(gain))

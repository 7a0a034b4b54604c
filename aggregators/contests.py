"""Merges in which members contend for every element.

Weights are not used (a member of weight 0 is left out) but in `cabs` and
`consensus_ta`, which add. What a member left out counts as 0. All need the cohort.
"""

import numpy as np

from ..protocols.errors import ConfigError
from .base import Recipe, Reducer
from .classics import gained, known
from .cohorts import Reals, by_rows, by_tensors
from .rewrites import written
from .transforms import fraction


def largest() -> Reducer:
    r"""By element the value of the largest magnitude; of equal ones the first by name.

    .. math:: u = x_{k^*}, \qquad k^* = \arg\max_k |x_k|

    Source: Marczak et al., `MagMax <https://arxiv.org/abs/2407.06322>`_, 2024,
    section 3.
    """

    def rule(values: Reals, shares: Reals) -> Reals:  # noqa: ARG001
        best = np.abs(values).argmax(0)[np.newaxis]
        out: Reals = np.take_along_axis(values, best, axis=0)[0]
        return out

    return by_rows("largest", rule)


def unified() -> Reducer:
    r"""The elected sign with the largest magnitude that has it.

    .. math:: \gamma = \mathrm{sgn}\Big(\sum_k x_k\Big), \qquad
              u = \gamma \max_{k: \mathrm{sgn}(x_k) = \gamma} |x_k|

    EMR-Merging's unified vector; its masks and rescalers, one a task, need a task to
    be told at inference and are no part of one model. Where signs cancel, u = 0.

    Source: Huang et al., `EMR-Merging <https://arxiv.org/abs/2405.17461>`_, 2024,
    section 3.
    """

    def rule(values: Reals, shares: Reals) -> Reals:  # noqa: ARG001
        sign = np.sign(values.sum(0))
        size: Reals = np.where(np.sign(values) == sign, np.abs(values), 0).max(0)
        out: Reals = sign * size
        return out

    return by_rows("unified", rule)


def selected_mean(density: float, *, upward: bool) -> Reducer:
    r"""Select by variance, weigh by energy, erase the minority sign.

    Of each tensor's elements with variance between members, the
    ``int(density count)`` of largest variance are kept (ties by position; all at
    density 1); each member weighs its mean square over what is kept; where a member
    has not the sign of the sum it is left out.

    .. math:: u = \frac{\sum_{\mathrm{sgn}(x_k) = \gamma} v_k x_k}
                       {\sum_{\mathrm{sgn}(x_k) = \gamma} v_k}, \qquad
              v_k = \frac{\overline{x_k^2}}{\sum_j \overline{x_j^2}}

    Args:
        density: the share that is kept.
        upward: a sum of 0 elects the positive side, and weights are held from 1e-6, as
            mergekit does; otherwise it elects none.

    Source: Wan et al., `FuseChat <https://arxiv.org/abs/2408.07990>`_, 2024, section
    3.3.
    """
    fraction(density, "sce")

    def rule(name: str, values: Reals, shares: Reals) -> Reals:  # noqa: ARG001
        if density < 1:
            values = values * _varied(values, density)
        total = values.sum(0)
        sign = np.where(total >= 0, 1.0, -1.0) if upward else np.sign(total)
        agree = (np.sign(values) == sign) & (values != 0)
        energy = (values.reshape(len(values), -1) ** 2).sum(1) / max(values[0].size, 1)
        whole = float(energy.sum())
        plain = abs(whole) < _SMALL if upward else whole == 0
        energy = np.full(len(values), 1 / len(values)) if plain else energy / whole
        weights = agree * energy.reshape(-1, *[1] * (values.ndim - 1))
        below = weights.sum(0)
        least = np.maximum(below, _SMALL) if upward else np.where(below > 0, below, 1)
        merged: Reals = (values * weights).sum(0) / least
        return merged

    return by_tensors(f"selected_mean({density!r}, {upward})", rule)


_SMALL = 1e-6


def _varied(values: Reals, density: float) -> Reals:
    """1 where the variance is among the largest, else 0."""
    variance = values.var(0).reshape(-1)
    count = int(np.count_nonzero(variance) * density)
    mask = np.zeros(variance.size)
    mask[np.argsort(-variance, kind="stable")[:count]] = 1
    return mask.reshape(values.shape[1:])


def balanced_sum(keep: int, block: int) -> Reducer:
    """Each member in turn keeps the n largest of every m that nobody took before it.

    Members go in name order (fixed, so that runs agree); blocks of m elements follow
    one another through the flattened tensor; of equal magnitudes the first is kept,
    zeros never. What is kept is added, times the member's weight: nothing overlaps.

    Source: Yang et al., `CABS: Conflict-Aware and Balanced Sparsification
    <https://arxiv.org/abs/2503.01874>`_, 2025, section 3.
    """

    def rule(name: str, values: Reals, shares: Reals) -> Reals:  # noqa: ARG001
        size = values[0].size
        rows = -(-size // block)
        free = np.ones((rows, block), bool)
        total = np.zeros((rows, block))
        for value, share in zip(values, shares, strict=True):
            padded = np.zeros(rows * block)
            padded[:size] = value.reshape(-1)
            part = np.where(free, padded.reshape(rows, block), 0)
            order = np.argsort(-np.abs(part), axis=1, kind="stable")[:, :keep]
            mask = np.zeros_like(free)
            np.put_along_axis(mask, order, values=True, axis=1)
            mask &= part != 0
            total += np.where(mask, part * share, 0)
            free &= ~mask
        return total.reshape(-1)[:size].reshape(values.shape[1:])

    return by_tensors(f"balanced_sum({keep}, {block})", rule)


def consensus_sum(members: int, threshold: float) -> Reducer:
    r"""The sum, where at least m members' masks say that they need it.

    .. math:: T = \sum_k w_k x_k, \qquad
              m_k = \mathbf{1}\big[\,|x_k| \ge \lambda\, |T - x_k|\,\big], \qquad
              u = T \cdot \mathbf{1}\Big[\sum_k m_k \ge m\Big]

    An element that nobody moved is 0 anyway.

    Source: Wang et al., `Localizing Task Information for Improved Model Merging and
    Compression <https://arxiv.org/abs/2405.07813>`_, 2024, equations 4 and 6.
    """

    def rule(values: Reals, shares: Reals) -> Reals:
        total: Reals = np.tensordot(shares, values, 1)
        masks = np.abs(values) >= threshold * np.abs(total - values)
        return np.where(masks.sum(0) >= members, total, 0.0)

    return by_rows(f"consensus_sum({members}, {threshold!r})", rule, adds=True)


def magmax(gain: float = 1.0) -> Recipe:
    """The value of the largest magnitude, by element (see `largest`).

    Cost: one pass, O(K n); K spans in float64.

    Source: Marczak et al., 2024, as `largest` says.
    """
    return Recipe(written("magmax", gain=gain), (), largest(), gained(gain))


def emr(gain: float = 1.0) -> Recipe:
    """The elected sign with the largest magnitude (see `unified`).

    Cost: one pass, O(K n); K spans in float64.

    Source: Huang et al., 2024, as `unified` says.
    """
    return Recipe(written("emr", gain=gain), (), unified(), gained(gain))


def sce(density: float = 1.0, gain: float = 1.0, compat: str = "") -> Recipe:
    """Select, calculate, erase (see `selected_mean`).

    Cost: one pass, O(K n), and below density 1 a sort of every tensor, O(n log n); K
    tensors in float64, and as much for working.

    Source: Wan et al., 2024, as `selected_mean` says.
    """
    text = written("sce", density=density, gain=gain)
    text = f"{text[:-1]}, compat={compat!r})" if compat else text
    reducer = selected_mean(density, upward=known(compat, "mergekit"))
    return Recipe(text, (), reducer, gained(gain))


def cabs(keep: int = 1, block: int = 4, gain: float = 1.0) -> Recipe:
    """Keep n of m in turn, without overlap, and add (see `balanced_sum`).

    Cost: one pass, a sort of every block of m, O(K n log m); K tensors in float64.

    Source: Yang et al., 2025, as `balanced_sum` says.

    Raises:
        ConfigError: not 1 to m of m.
    """
    if not 1 <= keep <= block:
        raise ConfigError(f"cabs: keep {keep} of {block}, allowed: 1 to the block's")
    text = written("cabs", keep=keep, block=block, gain=gain)
    return Recipe(text, (), balanced_sum(keep, block), gained(gain))


def consensus_ta(members: int = 2, threshold: float = 0.4, gain: float = 1.0) -> Recipe:
    """The sum, where enough members need it (see `consensus_sum`).

    Cost: one pass, O(K n); K spans in float64.

    Source: Wang et al., 2024, as `consensus_sum` says.

    Raises:
        ConfigError: fewer than 1 member, or a threshold below 0.
    """
    if members < 1 or not 0 <= threshold < float("inf"):
        raise ConfigError(
            f"consensus_ta: members {members}, threshold {threshold}, allowed: members "
            "from 1, threshold from 0"
        )
    text = written("consensus_ta", members=members, threshold=threshold, gain=gain)
    return Recipe(text, (), consensus_sum(members, threshold), gained(gain))

"""Sums that ask how many stand behind a sign before they let an element move."""

import math

import numpy as np
import numpy.typing as npt

from ..protocols.errors import ConfigError
from ..protocols.vectors import Block, Floats
from .base import Planes, Recipe, Reducer
from .classics import gained
from .rewrites import written
from .sums import agreed_mean

BELOW = ("damp", "flip", "drop")
_MOST = 1 << 31
_UP, _DOWN = np.int64(1), np.int64(1 << 32)
_MASK = np.int64((1 << 32) - 1)


def supported_mean(members: int = 2, election: str = "mass") -> Reducer:
    r"""The agreed mean where at least m members stand on the elected side.

    .. math:: u = \mathbf{1}\big[\,|\{k : \mathrm{sgn}(x_k) = \gamma\}| \ge m\,\big]
              \cdot \mathrm{agreed\_mean}(x)

    Members are counted, not their weights; a zero stands on no side. Fewer members
    than m: nothing moves.

    Cost: the agreed mean's planes and one of counts.

    Raises:
        ConfigError: m below 1, or no such election.
    """
    if not (isinstance(members, int) and 1 <= members < _MOST):
        raise ConfigError(f"min_agree: members is {members}, allowed: 1 and above")
    if election not in ("mass", "count"):
        raise ConfigError(f"election is {election!r}, allowed: mass, count")
    inner = agreed_mean("mass" if election == "mass" else "count")

    def planes(total: int) -> tuple[int, npt.DTypeLike]:
        count, kind = inner.planes(total)
        return count + 1, kind

    def fold(sums: Planes, block: Block, share: int, scale: float) -> None:
        inner.fold(sums[:-1], block, share, scale)
        where = slice(None) if block.positions is None else block.positions
        x = block.values
        votes = (x > 0) * _UP + (x < 0) * _DOWN
        if share:
            sums[-1][where] += votes.astype(sums.dtype)

    def finish(sums: Planes, total: int, unit: float, out: Floats) -> None:
        inner.finish(sums[:-1], total, unit, out)
        votes = sums[-1].astype(np.int64)
        side = np.where((out > 0) == (unit > 0), votes & _MASK, votes >> np.int64(32))
        out[side < members] = 0

    return Reducer(
        f"supported_mean({members}, {election})",
        adds=False,
        linear=False,
        planes=planes,
        fold=fold,
        finish=finish,
    )


def enough(count: int, hostile: int, kept: float = 1.0, level: float = 0.95) -> int:
    r"""How many members of n must agree where f are hostile: `min_agree`'s m.

    .. math:: m = \min\big(n - f,\ f + 1 + q_p(\mathrm{Bin}(n - f, d / 2))\big)

    so that f members and the honest ones that stand on their side by chance alone do
    not move an element. More than n - f would let f members hold everything still:
    where that is what it takes, the chance is larger than 1 - p.

    Args:
        count: n.
        hostile: f.
        kept: d, the share of its elements that a member sends.
        level: p, the quantile of how many honest members agree by chance.

    Example:
        >>> enough(30, 3), enough(10, 1), enough(10, 3)
        (22, 9, 7)
    """
    honest, side, total, most = count - hostile, kept / 2, 0.0, 0
    for most in range(honest + 1):
        ways = math.comb(honest, most)
        total += ways * side**most * (1 - side) ** (honest - most)
        if total >= level:
            break
    return max(1, min(honest, hostile + 1 + most))


def voted_mean(threshold: float = 0.4, below: str = "damp") -> Reducer:
    r"""The mean, held back where signs disagree.

    .. math:: a = \Big|\sum_k w_k\, \mathrm{sgn}(x_k)\Big| \Big/ \sum_k w_k, \qquad
              u = \bar x \cdot \begin{cases} 1 & a \ge t \\
              a,\ {-1} \text{ or } 0 & a < t \end{cases}

    Args:
        threshold: t, a share of the weight, 0 to 1.
        below: "damp" multiplies by a (gradient-masked averaging), "flip" by -1 (robust
            learning rate, whose threshold counts clients: theta / K here), "drop" by 0.

    Cost: two planes.

    Source: Tenison et al., `Gradient Masked Averaging for Federated Learning
    <https://arxiv.org/abs/2201.11986>`_, 2022, section 4; Ozdayi et al., `Defending
    against Backdoors in Federated Learning with Robust Learning Rate
    <https://arxiv.org/abs/2007.03767>`_, 2021, section 4.

    Raises:
        ConfigError: a threshold outside [0, 1], or no such treatment.
    """
    if not 0 <= threshold <= 1:
        raise ConfigError(f"sign_vote: threshold is {threshold}, allowed: 0 to 1")
    if below not in BELOW:
        raise ConfigError(f"sign_vote: below is {below!r}, allowed: {', '.join(BELOW)}")

    def planes(total: int) -> tuple[int, npt.DTypeLike]:  # noqa: ARG001
        return 2, np.int64

    def fold(sums: Planes, block: Block, share: int, scale: float) -> None:
        where = slice(None) if block.positions is None else block.positions
        x = block.values.astype(np.float64)
        sums[0][where] += share * np.rint(x * scale).astype(np.int64)
        sums[1][where] += share * np.sign(x).astype(np.int64)

    def finish(sums: Planes, total: int, unit: float, out: Floats) -> None:
        whole = max(total, 1)
        agreement = np.abs(sums[1]) / whole
        held = {"damp": agreement, "flip": -1.0, "drop": 0.0}[below]
        factor = np.where(agreement >= threshold, 1.0, held)
        out[:] = sums[0] * unit / whole * factor + 0.0

    return Reducer(
        f"voted_mean({threshold!r}, {below})",
        adds=False,
        linear=False,
        planes=planes,
        fold=fold,
        finish=finish,
    )


def min_agree(members: int = 2, gain: float = 1.0, election: str = "mass") -> Recipe:
    """Average what agrees, where enough members do (see `supported_mean`).

    Cost: one pass, O(K n); three or five numbers an element in the state.

    Source: the agreed mean of Yadav et al., `TIES-Merging
    <https://arxiv.org/abs/2306.01708>`_, 2023, held to a count; no paper of its own.
    """
    text = written("min_agree", members=members, gain=gain, election=election)
    return Recipe(text, (), supported_mean(members, election), gained(gain))


def sign_vote(threshold: float = 0.4, below: str = "damp", gain: float = 1.0) -> Recipe:
    """Average, held back where signs disagree (see `voted_mean`).

    Cost: one pass, O(K n); two numbers an element in the state.

    Source: Tenison et al., 2022, and Ozdayi et al., 2021, as `voted_mean` says.
    """
    text = written("sign_vote", threshold=threshold, below=below, gain=gain)
    return Recipe(text, (), voted_mean(threshold, below), gained(gain))

"""The reducers that add: the mean, the sum, and the mean of the elected sign."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..protocols.errors import ConfigError
from ..protocols.vectors import Block, Floats
from . import kernels
from .base import Planes, Reducer
from .scales import PACKED

ELECTIONS = ("mass", "count")


def weighted_mean() -> Reducer:
    r"""Mean by weight; what a contribution left out counts as 0.

    .. math:: u = \frac{\sum_k w_k x_k}{\sum_k w_k}

    One plane: 8 bytes a coordinate.

    Source: McMahan et al., `Communication-Efficient Learning of Deep Networks from
    Decentralized Data <https://arxiv.org/abs/1602.05629>`_, 2017, algorithm 1.
    """

    def finish(sums: Planes, total: int, unit: float, out: Floats) -> None:
        kernels.read_sum(sums[0], unit, float(max(total, 1)), out)

    return _linear("weighted_mean", finish, adds=False)


def weighted_sum() -> Reducer:
    r"""Sum by weight, :math:`u = \sum_k w_k x_k`: task addition and negation.

    Source: Ilharco et al., `Editing Models with Task Arithmetic
    <https://arxiv.org/abs/2212.04089>`_, 2023, section 3.
    """

    def finish(sums: Planes, total: int, unit: float, out: Floats) -> None:  # noqa: ARG001
        kernels.read_sum(sums[0], unit, 1.0, out)

    return _linear("weighted_sum", finish, adds=True)


def agreed_mean(election: Literal["mass", "count"] = "mass") -> Reducer:
    r"""Mean, element by element, of the contributions that share the elected sign.

    .. math:: \gamma = \mathrm{sgn}\Big(\sum_k w_k x_k\Big), \qquad
              u = \frac{\sum_{\mathrm{sgn}(x_k) = \gamma} w_k x_k}
                       {\sum_{\mathrm{sgn}(x_k) = \gamma} w_k}

    Where both sides weigh the same no sign is elected and the element does not move.

    Args:
        election: "mass" as above; "count" elects the side with more weight behind it,
            whatever the magnitudes.

    Two planes of 8 bytes for shares of at most 1023 in all, four above.

    Source: Yadav et al., `TIES-Merging <https://arxiv.org/abs/2306.01708>`_, 2023,
    algorithm 1, steps 2 and 3.

    Raises:
        ConfigError: no such election.
    """
    if election not in ELECTIONS:
        raise ConfigError(f"election is {election!r}, allowed: mass, count")
    row = 2 * ELECTIONS.index(election)

    def finish(sums: Planes, total: int, unit: float, out: Floats) -> None:  # noqa: ARG001
        if len(sums) == 2:  # noqa: PLR2004
            up, down = sums[0].view(np.int64), sums[1].view(np.int64)
            kernels.read_packed(up, down, row, unit, out)
        else:
            kernels.read_wide(tuple(sums), row, unit, out)

    return Reducer(
        f"agreed_mean({election})",
        adds=False,
        linear=False,
        planes=_signed,
        fold=_agree,
        finish=finish,
        loop=election,
    )


def _linear(
    text: str, finish: Callable[[Planes, int, float, Floats], None], *, adds: bool
) -> Reducer:
    return Reducer(
        text,
        adds=adds,
        linear=True,
        planes=_single,
        fold=_add,
        finish=finish,
        loop="sum",
    )


def _single(total: int) -> tuple[int, npt.DTypeLike]:  # noqa: ARG001
    return 1, np.int64


def _signed(total: int) -> tuple[int, npt.DTypeLike]:
    return (2, np.uint64) if total <= PACKED else (4, np.int64)


def _add(sums: Planes, block: Block, share: int, scale: float) -> None:
    if block.positions is None:
        kernels.sum_dense(sums[0], block.values, scale, share)
    else:
        kernels.sum_sparse(sums[0], block.positions, block.values, scale, share)


def _agree(sums: Planes, block: Block, share: int, scale: float) -> None:
    where, values = block.positions, block.values
    if sums.dtype == np.int64:
        if where is None:
            kernels.agree_wide_dense(sums, values, scale, share)
        else:
            kernels.agree_wide_sparse(sums, where, values, scale, share)
        return
    counted = np.uint64(share)
    if where is None:
        kernels.agree_packed_dense(sums[0], sums[1], values, scale, counted)
    else:
        kernels.agree_packed_sparse(sums, where, values, scale, counted)

"""A mean over those who are there: a zero does not vote, and does not weigh either."""

import numpy as np
import numpy.typing as npt

from ..protocols.vectors import Block, Floats
from .base import Planes, Recipe, Reducer
from .classics import gained
from .rewrites import written
from .transforms import trim


def present_mean() -> Reducer:
    r"""Mean, element by element, of the contributions that are not 0 there.

    .. math:: u = \frac{\sum_k w_k x_k}{\sum_{x_k \ne 0} w_k}

    Where nobody is there, u = 0. Two planes.
    """

    def planes(total: int) -> tuple[int, npt.DTypeLike]:  # noqa: ARG001
        return 2, np.int64

    def fold(sums: Planes, block: Block, share: int, scale: float) -> None:
        where = slice(None) if block.positions is None else block.positions
        x = block.values.astype(np.float64)
        sums[0][where] += share * np.rint(x * scale).astype(np.int64)
        sums[1][where] += share * (x != 0)

    def finish(sums: Planes, total: int, unit: float, out: Floats) -> None:  # noqa: ARG001
        out[:] = sums[0] * unit / np.maximum(sums[1], 1) + 0.0

    return Reducer(
        "present_mean",
        adds=False,
        linear=False,
        planes=planes,
        fold=fold,
        finish=finish,
    )


def localize_and_stitch(density: float = 0.05, gain: float = 1.0) -> Recipe:
    """Keep each tensor's largest values, stitch them, average where they overlap.

    The dataless form: regions are the largest magnitudes, not trained masks. See
    `present_mean`.

    Cost: two passes over what came (a threshold a tensor, then the sums), O(K n); two
    numbers an element in the state.

    Source: He et al., `Localize-and-Stitch <https://arxiv.org/abs/2408.13656>`_, 2025,
    section 3.
    """
    text = written("localize_and_stitch", density=density, gain=gain)
    return Recipe(text, (trim(density),), present_mean(), gained(gain))

"""Discrete Gaussian noise: whole numbers whose sums hide what continuous noise hides.

A whole number y has a chance in proportion to ``exp(-(y - c)^2 / (2 s^2))``: the
discrete Gaussian of parameter s around c. Drawn by `Peikert's convolution
<https://eprint.iacr.org/2010/088>`_ (2010, theorem 3.1): a continuous normal number,
rounded at random by a narrow discrete Gaussian around it. So it is a continuous
Gaussian of variance ``s^2 - ROUNDED^2`` after a step that looks at nothing else.
"""

import math

import numpy as np
import numpy.typing as npt

from .errors import BoundsError
from .secrets import Secret

Whole = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

ROUNDED = 2.0
"""Parameter of the random rounding, in whole numbers: by how much its sums miss a
discrete Gaussian is in the order of exp(-2 pi^2 ROUNDED^2) < 10^-34."""
LEAST = 8.0
"""The narrowest noise that is drawn so."""
FURTHEST = 8.3
"""No normal number is further out, in deviations."""
REACH = 24
"""How far the rounding moves at most: 12 of its deviations."""

_ROWS = 1 << 13


def most(deviation: float) -> float:
    """The largest magnitude of noise of a deviation.

    Example:
        >>> most(1000.0)
        8325.0
    """
    return math.ceil(FURTHEST * deviation) + REACH + 1.0


def discrete(secret: Secret, index: int, count: int, deviation: float) -> Whole:
    """[count] numbers from the discrete Gaussian of a parameter around 0.

    Args:
        secret: where they come from; the same again gives the same numbers.
        index: of what is drawn; at most 2^24 numbers each.
        count: how many.
        deviation: the parameter, which the deviation equals but for 10^-34.

    Raises:
        BoundsError: the parameter is too small for the grid.

    Example:
        >>> made = discrete(Secret(bytes(32)), 0, 20_000, 100.0)
        >>> bool(abs(made.std() - 100.0) < 1.5)
        True
    """
    if not LEAST <= deviation < float(1 << 50):
        raise BoundsError(
            f"noise of {deviation:g} steps of the grid, allowed: {LEAST:g} and above"
        )
    inner = math.sqrt(deviation * deviation - ROUNDED * ROUNDED)
    centres = inner * secret.normals("centre", index, count)
    coins = secret.of("rounding").uniform(index, count)
    whole = np.floor(centres)
    made = whole.astype(np.int64)
    for first in range(0, count, _ROWS):
        some = slice(first, first + _ROWS)
        made[some] += _rounded(centres[some] - whole[some], coins[some])
    return made


def _rounded(parts: Reals, coins: Reals) -> Whole:
    """Discrete Gaussians of parameter `ROUNDED` around parts in [0, 1), by coins."""
    places = np.arange(-REACH, REACH + 2, dtype=np.float64)
    odds = np.exp((places - parts[:, None]) ** 2 * (-0.5 / ROUNDED**2))
    heaped = np.cumsum(odds, axis=1)
    wanted = coins * heaped[:, -1]
    found: Whole = (heaped < wanted[:, None]).sum(axis=1) - REACH
    return found

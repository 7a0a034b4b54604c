"""How much of an update sits in how few of its elements: energy by density.

Magnitudes are counted in bins an eighth of an octave wide, so that one pass over the
blocks is enough, whatever their size.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..protocols.vectors import Contribution
from .sources import release

DENSITIES = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Kept shares of all elements for which the energy is told."""

_SHIFT, _BINS = 20, 1 << 11  # of float32 bits: sign off, exponent and 3 bits below it
Counts = npt.NDArray[np.float64]


def energies(
    views: Sequence[Contribution],
    densities: Sequence[float] = DENSITIES,
    every: int = 1,
) -> list[list[float]]:
    """By update, the share of its energy in its largest elements, by density.

    Args:
        views: updates, each read once.
        densities: kept shares of all elements, each in (0, 1].
        every: of how many blocks one is read.

    Returns:
        For each update, for each density, a share from 0 to 1; 1 where it is zero.

    Example:
        >>> from fedelta.protocols.vectors import TaskVector
        >>> spiky = TaskVector.of({"w": np.float32([3, 0, 0, 0, 0, 0, 0, 1])})
        >>> [round(one, 3) for one in energies([spiky], [0.125, 1.0])[0]]
        [0.9, 1.0]
    """
    return [_told(*_counted(view, every), densities) for view in views]


def _counted(view: Contribution, every: int) -> tuple[Counts, Counts, int]:
    """[bins] how many elements, and their energy; of how many in all."""
    counts, energy, size = np.zeros(_BINS), np.zeros(_BINS), 0
    for span in view.layout.spans[::every]:
        size += span.size
        values = np.ascontiguousarray(view.block(span).values, np.float32)
        bits = (values.view(np.uint32) & np.uint32(0x7FFFFFFF)) >> np.uint32(_SHIFT)
        squares = np.square(values, dtype=np.float64)
        counts += np.bincount(bits, minlength=_BINS)
        energy += np.bincount(bits, squares, minlength=_BINS)
    release(view)
    return counts, energy, size


def _told(
    counts: Counts, energy: Counts, size: int, densities: Sequence[float]
) -> list[float]:
    total = energy.sum()
    if not total:
        return [1.0] * len(densities)
    kept = np.concatenate([[0.0], np.cumsum(counts[::-1])])
    held = np.concatenate([[0.0], np.cumsum(energy[::-1])])
    wanted = [min(density * size, kept[-1]) for density in densities]
    return [float(one) for one in np.interp(wanted, kept, held) / total]

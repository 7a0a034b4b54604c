"""Which places travel: the largest of a tensor, or those of a mask drawn by seed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import positions
from .vectors import Floats, Positions

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a tensor's largest magnitudes are.

    Attributes:
        count: how many there are.
        least: the smallest of them, as float32 bits.
        ties: how many of those that equal it are taken, the first ones.
    """

    count: int
    least: int
    ties: int


def threshold(values: Floats, most: int, scratch: npt.NDArray[np.uint32]) -> Threshold:
    """The `most` largest magnitudes of a tensor; zeros are never among them.

    Magnitudes of floats lie in the order of their bits. One pass, one partition in
    place, no sort.

    Args:
        values: [n] the tensor.
        most: how many.
        scratch: [n] or more, written over.
    """
    sizes = scratch[: values.size]
    there, _ = positions.magnitudes(values, sizes)
    count = min(most, there)
    if not count:
        return Threshold(0, 0x7F800000, 0)
    if count == values.size:
        return Threshold(count, 0, 0)
    sizes.partition(values.size - count)
    least = sizes[values.size - count]
    ties = positions.equals(sizes[values.size - count :], least)
    return Threshold(count, int(least), int(ties))


def taken(
    values: Floats, at: Threshold, ends: Indices, ties: int
) -> tuple[Positions, Floats, int]:
    """Places and values of what reaches a threshold in a run of spans.

    Args:
        values: [n] the run.
        at: the threshold.
        ends: [spans + 1] coordinates before each; becomes values before each.
        ties: how many may still equal it.

    Returns:
        Places within their spans, values, and how many ties are left.
    """
    room = min(at.count, values.size) + 1
    places = np.empty(room, np.uint16)
    found = np.empty(room, np.float32)
    ties = positions.gather(values, np.uint32(at.least), ties, ends, places, found)
    return places[: ends[-1]], found[: ends[-1]], ties


def largest(values: Floats, most: int) -> Indices:
    """Indices of the `most` largest magnitudes, increasing; zeros are never taken.

    Ties at the threshold go to the first places.

    Example:
        >>> largest(np.float32([1, -3, 0, 3, -3]), 2)
        array([1, 3])
    """
    at = threshold(values, most, np.empty(values.size, np.uint32))
    sizes = values.view(np.uint32) & np.uint32(0x7FFFFFFF)
    chosen = sizes > at.least
    chosen[np.flatnonzero(sizes == at.least)[: at.ties]] = True
    return np.flatnonzero(chosen)

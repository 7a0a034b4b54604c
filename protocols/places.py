"""Which places travel: the largest of a tensor, or those of a mask drawn by seed."""

import numpy as np
import numpy.typing as npt

from . import kernels, seeds
from .headers import Header
from .vectors import Floats, Layout, Positions, Span
from .wires import Wire

Indices = npt.NDArray[np.int64]


def largest(values: Floats, most: int) -> Indices:
    """Indices of the `most` largest magnitudes, increasing; zeros are never taken.

    Ties at the threshold go to the first places.

    Example:
        >>> largest(np.float32([1, -3, 0, 3, -3]), 2)
        array([1, 3])
    """
    sizes = values.view(np.uint32) & np.uint32(0x7FFFFFFF)
    count = min(most, int(np.count_nonzero(sizes)))
    if not count:
        return np.zeros(0, np.int64)
    least = np.partition(sizes, sizes.size - count)[sizes.size - count]
    taken = sizes > least
    tied = np.flatnonzero(sizes == least)
    taken[tied[: count - np.count_nonzero(taken)]] = True
    return np.flatnonzero(taken)


def gaps(positions: Positions) -> npt.NDArray[np.uint8]:
    """[k] places of a span as gap bytes."""
    room = np.empty(positions.size + (1 << 16) // kernels.ESCAPE, np.uint8)
    return room[: kernels.write_gaps(positions, room)]


def mask_key(header: Header, layout: Layout, tensor: int) -> int:
    """The key that a "seeded" payload's mask of a tensor is drawn under."""
    name = layout.names[tensor]
    return seeds.key("mask", header.seed, header.run, header.round, header.client, name)


def mask(wire: Wire, header: Header, layout: Layout, span: Span) -> Positions:
    """Indices of a span that a "seeded" payload keeps."""
    key = mask_key(header, layout, span.tensor)
    return seeds.kept(key, span.start, span.size, wire.density).astype(np.uint16)

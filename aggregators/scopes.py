"""Trimming by one threshold over the whole vector, as TIES' own code does."""

import math

import numpy as np
import numpy.typing as npt

from ..protocols.vectors import Contribution
from .base import Key, Transform
from .transforms import fraction
from .views import Cut, Trimmed

_FINITE = np.uint32(0x7FFFFFFF)


def trim_vector(density: float) -> Transform:
    """Keep the largest magnitudes of all tensors together.

    Of N elements exactly ``min(ceil(density N), nonzeros)`` are kept; of equal ones
    those that come first in the layout's order. With tied embeddings and Adam this
    keeps little but embedding rows: `trim` goes by tensor.

    Cost: one read for the threshold, O(n); some 12 bytes a value that came.

    Source: Yadav et al., `TIES-Merging <https://arxiv.org/abs/2306.01708>`_, 2023,
    algorithm 1, step 1.

    Example:
        >>> from fedelta.protocols.vectors import TaskVector
        >>> vector = TaskVector.of({"a": np.float32([3, 2]), "b": np.float32([1, 1])})
        >>> kept = trim_vector(0.75).apply(vector, Key())
        >>> [kept.block(span).values.tolist() for span in vector.layout.spans]
        [[3.0, 2.0], [1.0, 0.0]]
    """
    fraction(density, "trim_vector")

    def apply(contribution: Contribution, key: Key) -> Contribution:  # noqa: ARG001
        layout = contribution.layout
        parts = [magnitudes(contribution, place) for place in range(len(layout.spans))]
        bits = np.concatenate(parts) if parts else np.zeros(0, np.uint32)
        most = math.ceil(density * layout.size)
        nonzero = int(np.count_nonzero(bits))
        if most >= nonzero:
            return Trimmed(contribution, (Cut(1),) * len(layout.names), {})
        threshold = int(np.partition(bits, bits.size - most)[bits.size - most])
        ties = most - int(np.count_nonzero(bits > np.uint32(threshold)))
        met = [int(np.count_nonzero(part == np.uint32(threshold))) for part in parts]
        before = np.cumsum([0, *met]).tolist()
        cuts = (Cut(threshold, ties),) * len(layout.names)
        return Trimmed(contribution, cuts, dict(enumerate(before)))

    return Transform(f"trim_vector({density!r})", apply)


def magnitudes(contribution: Contribution, place: int) -> npt.NDArray[np.uint32]:
    """One span's magnitudes as float32 bits."""
    block = contribution.block(contribution.layout.spans[place])
    values = np.ascontiguousarray(block.values, np.float32)
    bits: npt.NDArray[np.uint32] = values.view(np.uint32) & _FINITE
    return bits

"""How clients' updates stand to each other before they are merged."""

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..protocols.vectors import Contribution, Layout
from . import factors
from .products import Products, stacks
from .scales import same
from .spaces import Arrival, paired_shapes, whole

Table = npt.NDArray[np.float64]

_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)(?=\.)")


def compare(arrivals: Sequence[Arrival]) -> dict[str, Any]:
    """Pairwise cosine and sign conflict, over all and by layer.

    Low-rank pairs are compared as their products. The conflict of two updates is the
    share of opposite signs among the elements that both move.

    Returns:
        "clients": names in order; "cosine" and "conflict": [K][K] tables; "layers":
        by layer ("layer.3", or the tensor's name outside of layers) the mean of each
        over pairs of clients; all JSON-able.

    Raises:
        PayloadError: replies whose tensors do not fit each other.

    Example:
        >>> from fedelta.protocols.vectors import TaskVector
        >>> def reply(name, x):
        ...     return Arrival(name, TaskVector.of({"w": np.float32(x)}))
        >>> found = compare([reply("a", [1, 1, 0]), reply("b", [1, -1, 2])])
        >>> found["conflict"]
        [[0.0, 0.5], [0.5, 0.0]]
    """
    ordered = sorted(arrivals, key=lambda one: one.name)
    if not ordered:
        return {"clients": [], "cosine": [], "conflict": [], "layers": {}}
    with factors.one_thread():
        held = {a.name: stacks(a.contribution, a.pairs, a.start) for a in ordered}
        shapes = paired_shapes(held)
        views: list[Contribution] = [
            Products(one.contribution, held[one.name], shapes, whole(one))
            for one in ordered
        ]
        for view in views:
            same(views[0].layout, view.layout)
        layers = _layers(views)
    total = sum(layers.values(), np.zeros((3, len(views), len(views))))
    return {
        "clients": [one.name for one in ordered],
        "cosine": _cosine(total).tolist(),
        "conflict": _conflict(total).tolist(),
        "layers": {
            name: {
                "cosine": _mean(_cosine(table)),
                "conflict": _mean(_conflict(table)),
            }
            for name, table in sorted(layers.items(), key=lambda one: _order(one[0]))
        },
    }


def layer(name: str) -> str:
    """The layer that a tensor is of.

    Example:
        >>> layer("encoder.layer.11.attention.query.weight"), layer("classifier.weight")
        ('layer.11', 'classifier.weight')
    """
    found = _LAYER.search(name)
    return f"layer.{found[1]}" if found else name


def _layers(views: Sequence[Contribution]) -> dict[str, Table]:
    """By layer [3, K, K]: products, opposite signs, both moved."""
    layout: Layout = views[0].layout
    count = len(views)
    sums: dict[str, Table] = defaultdict(lambda: np.zeros((3, count, count)))
    for span in layout.spans:
        values = np.stack([view.block(span).dense() for view in views])
        signs = np.sign(values)
        both = np.abs(signs) @ np.abs(signs).T
        wide = values.astype(np.float64)
        table = sums[layer(layout.names[span.tensor])]
        table[0] += wide @ wide.T
        table[1] += (both - signs @ signs.T) / 2
        table[2] += both
    return dict(sums)


def _cosine(table: Table) -> Table:
    lengths = np.sqrt(np.diag(table[0]))
    scale = np.outer(lengths, lengths)
    cosine: Table = np.divide(
        table[0], scale, out=np.zeros_like(scale), where=scale > 0
    )
    return np.clip(cosine, -1, 1)


def _conflict(table: Table) -> Table:
    conflict: Table = np.divide(
        table[1], table[2], out=np.zeros_like(table[1]), where=table[2] > 0
    )
    return conflict


def _mean(table: Table) -> float:
    """Over pairs of different clients."""
    pairs = table[np.triu_indices(len(table), 1)]
    return float(pairs.mean()) if pairs.size else math.nan if len(table) == 0 else 0.0


def _order(name: str) -> tuple[int, int, str]:
    number = name.removeprefix("layer.")
    return (0, int(number), "") if number.isdigit() else (1, 0, name)

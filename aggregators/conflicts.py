"""How two clients' updates stand to each other, element by element: tables of sums.

All tables are [K, K] of K updates, add up over blocks, and are read when all is added.
Inner products and opposite signs are taken over all elements; what costs more (signs
after trimming, ratios of magnitudes) over a like part of them where there are many.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ..protocols.vectors import Contribution, Floats, Layout, Span
from .scales import same
from .sources import release, succeed

Table = npt.NDArray[np.float64]

PRODUCTS, OPPOSED, BOTH, RATIOS, RATED, TRIMMED, KEPT = range(7)
"""Inner products; opposite signs, of so many elements that both move; sums of |log2| of
the ratio of magnitudes, of so many; opposite signs after trimming, of so many."""

HELD = 1 << 24
"""Elements of all updates that are held at once, or one block of each."""
SAMPLED = 1 << 23
"""Elements of all updates that the dearer tables are taken over."""


def tables(
    views: Sequence[Contribution], group: Sequence[str], density: float = 0.2
) -> dict[str, Table]:
    """Read all blocks once and add up.

    Args:
        views: K updates with one layout, dense or sparse.
        group: by place of a tensor in the layout, what it is counted under.
        density: the share of each tensor that trimming keeps, in (0, 1].

    Returns:
        By group [7, K, K].

    Raises:
        PayloadError: other tensors than the first one's.
    """
    for view in views:
        same(views[0].layout, view.layout)
    count, layout = len(views), views[0].layout
    found: dict[str, Table] = defaultdict(lambda: np.zeros((7, count, count)))
    every = stride(layout, count)
    held: list[Floats] = []
    for span, values in _read(views):
        table = found[group[span.tensor]]
        _signs(values, table, OPPOSED)
        wide = values.astype(np.float64)
        table[PRODUCTS] += wide @ wide.T
        del wide
        if span.index % every == 0:
            _ratios(np.abs(values), table)
            held.append(values.copy())
        after = layout.spans[span.index + 1 : span.index + 2]
        if held and [one.tensor for one in after] != [span.tensor]:
            _trimmed(np.concatenate(held, axis=1), density, table)
            held = []
    return dict(found)


def _read(views: Sequence[Contribution]) -> Iterator[tuple[Span, Floats]]:
    """Each span of all views [K, n], in order; one view is open at a time."""
    layout, count = views[0].layout, len(views)
    for chunk in layout.chunks:
        spans = layout.spans[chunk.start : chunk.stop]
        each = max(1, HELD // max(1, count * max(span.size for span in spans)))
        for first in range(0, len(spans), each):
            part = spans[first : first + each]
            ends = np.cumsum([0, *(span.size for span in part)]).tolist()
            values = np.empty((count, ends[-1]), np.float32)
            for k, view in enumerate(views):
                succeed(view, views[k - 1])
                for span, at in zip(part, ends[:-1], strict=True):
                    values[k, at : at + span.size] = view.block(span).dense()
            for span, at in zip(part, ends[:-1], strict=True):
                yield span, np.ascontiguousarray(values[:, at : at + span.size])
    release(views[-1])


def stride(layout: Layout, count: int) -> int:
    """Of how many blocks one is looked at closely.

    Example:
        >>> [stride(Layout.of({"w": (size,)}), 8) for size in (1000, 1 << 24)]
        [1, 16]
    """
    return max(1, -(-layout.size * count // SAMPLED))


def _signs(values: Floats, table: Table, place: int) -> None:
    """Add opposite signs, and behind them elements that both move."""
    signs = np.sign(values)
    both = np.abs(signs) @ np.abs(signs).T
    table[place] += (both - signs @ signs.T) / 2
    table[place + 1] += both


def _ratios(sizes: Floats, table: Table) -> None:
    """Add |log2| of the ratios of magnitudes [K, n]."""
    with np.errstate(divide="ignore"):
        logs = np.log2(sizes)
    for one in range(len(sizes)):
        moved = (sizes[one] > 0) & (sizes > 0)
        gaps = np.zeros_like(logs)
        np.subtract(logs, logs[one], out=gaps, where=moved)
        table[RATIOS, one] += np.abs(gaps).sum(1, dtype=np.float64)
        table[RATED, one] += moved.sum(1)


def _trimmed(values: Floats, density: float, table: Table) -> None:
    """Add the signs of one tensor's [K, n] largest magnitudes."""
    kept = math.ceil(density * values.shape[1])
    sizes = np.abs(values)
    least = np.partition(sizes, -kept, axis=1)[:, -kept, np.newaxis]
    _signs(np.where(sizes >= least, values, np.float32(0)), table, TRIMMED)


def cosine(table: Table) -> Table:
    """[K, K] cosines; 0 where an update does not move."""
    lengths = norms(table)
    return np.clip(_divided(table[PRODUCTS], np.outer(lengths, lengths)), -1, 1)


def norms(table: Table) -> Table:
    """[K] L2 norms."""
    return np.sqrt(np.diag(table[PRODUCTS]))


def conflict(table: Table, *, trimmed: bool = False) -> Table:
    """[K, K] shares of opposite signs among the elements that both move."""
    place = TRIMMED if trimmed else OPPOSED
    return _divided(table[place], table[place + 1])


def disparity(table: Table) -> Table:
    """[K, K] geometric means of how many times the larger magnitude is the smaller.

    Over the elements that both move; 1 where they are alike, and where there are none.

    Example:
        >>> from fedelta.protocols.vectors import TaskVector
        >>> a, b = (TaskVector.of({"w": np.float32(x)}) for x in ([1, 0], [-4, 3]))
        >>> float(disparity(tables([a, b], ["w"])["w"])[0, 1])
        4.0
    """
    return np.exp2(_divided(table[RATIOS], table[RATED]))


def mean(table: Table) -> float:
    """Over pairs of different clients; 0 of one client alone."""
    pairs = table[np.triu_indices(len(table), 1)]
    return float(pairs.mean()) if pairs.size else math.nan if len(table) == 0 else 0.0


def _divided(above: Table, below: Table) -> Table:
    found: Table = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return found

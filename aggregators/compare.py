"""How clients' updates stand to each other before they are merged."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..protocols.vectors import Contribution
from . import conflicts, factors, redundancies, subspaces
from .conflicts import Table, mean
from .products import Products, Subset, stacks
from .spaces import Arrival, paired_shapes, whole

_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)(?=\.)")

WRITTEN, READ = "overlap_written", "overlap_read"


def compare(
    arrivals: Sequence[Arrival], density: float = 0.2, *, pairs: bool = False
) -> dict[str, Any]:
    """Tables of clients, two by two, over all and by layer.

    Low-rank pairs are compared as their products.

    Args:
        arrivals: a round's accepted replies.
        density: the share of each tensor that trimming keeps.
        pairs: also tell every layer's tables as they are, and its energies.

    Returns:
        All JSON-able. "clients": names in order; "norms": of their updates; tables
        [K][K]: "cosine"; "conflict", the share of opposite signs among the elements
        that both move, and "conflict_trimmed", the same of each one's largest;
        "disparity", how many times the larger magnitude is the smaller; and of
        low-rank updates "overlap_written" and "overlap_read", as `subspaces` has
        them. "energy": by client, the share of its energy in its largest elements, by
        "densities". "layers": by layer ("layer.3", or the tensor's name outside of
        layers) the mean of each table over pairs of clients. "pairs", if asked for:
        by layer all tables, "gram" (inner products: over all it is that of norms and
        cosines) and "energy".

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
        layout = views[0].layout
        group = [layer(name) for name in layout.names]
        sums = conflicts.tables(views, group, density)
        every = conflicts.stride(layout, len(views))
        energy = redundancies.energies(views, every=every)
        parts = _parts(views, every) if pairs else {}
    found = _read(sums, subspaces.overlaps(list(held.values())), parts)
    names = [one.name for one in ordered]
    total = sum(sums.values(), np.zeros((7, len(views), len(views))))
    return {
        "clients": names,
        "norms": conflicts.norms(total).tolist(),
        **found,
        "densities": list(redundancies.DENSITIES),
        "energy": energy,
    }


def layer(name: str) -> str:
    """The layer that a tensor is of.

    Example:
        >>> layer("encoder.layer.11.attention.query.weight"), layer("classifier.weight")
        ('layer.11', 'classifier.weight')
    """
    found = _LAYER.search(name)
    return f"layer.{found[1]}" if found else name


def _parts(views: Sequence[Contribution], every: int) -> dict[str, list[list[float]]]:
    """Energies of each layer by itself."""
    by_layer: dict[str, list[str]] = {}
    for name in views[0].layout.names:
        by_layer.setdefault(layer(name), []).append(name)
    return {
        which: redundancies.energies([Subset(one, names) for one in views], every=every)
        for which, names in by_layer.items()
    }


def _read(
    sums: Mapping[str, Table],
    overlaps: Mapping[str, tuple[Table, Table]],
    parts: Mapping[str, list[list[float]]],
) -> dict[str, Any]:
    """All tables, whole and as means by layer; layer by layer where energies are."""
    total = sum(sums.values(), np.zeros_like(next(iter(sums.values()))))
    whole_tables = _tables(total)
    by_layer = {name: _tables(table) for name, table in sums.items()}
    for name, two in overlaps.items():
        for key, table in zip((WRITTEN, READ), two, strict=True):
            own = by_layer[layer(name)]
            own.setdefault(key, []).append(table)
            whole_tables.setdefault(key, []).append(table)
    ordered = sorted(by_layer.items(), key=lambda one: _order(one[0]))
    pairs = {
        name: {key: _one(table).tolist() for key, table in own.items()}
        | {"gram": sums[name][conflicts.PRODUCTS].tolist(), "energy": parts[name]}
        for name, own in ordered
        if name in parts
    }
    return ({"pairs": pairs} if pairs else {}) | {
        **{key: _one(table).tolist() for key, table in whole_tables.items()},
        "layers": {
            name: {key: mean(_one(table)) for key, table in own.items()}
            for name, own in ordered
        },
    }


def _tables(table: Table) -> dict[str, Any]:
    return {
        "cosine": conflicts.cosine(table),
        "conflict": conflicts.conflict(table),
        "conflict_trimmed": conflicts.conflict(table, trimmed=True),
        "disparity": conflicts.disparity(table),
    }


def _one(table: Table | list[Table]) -> Table:
    """A table, or the mean of several."""
    if isinstance(table, list):
        found: Table = np.mean(table, axis=0)
        return found
    return table


def _order(name: str) -> tuple[int, int, str]:
    number = name.removeprefix("layer.")
    return (0, int(number), "") if number.isdigit() else (1, 0, name)

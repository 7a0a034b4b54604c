"""How far low-rank updates act on the same directions: principal angles of factors.

Of two updates ``B A`` the columns of B span what they write to, the rows of A what they
read from. The overlap of two subspaces is the mean squared cosine of their principal
angles: 1 where one lies in the other, and about r / n for two random ones of dimension
r in n dimensions.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from . import factors
from .tallies import Stack

Table = npt.NDArray[np.float64]
_LEAST = 1e-6  # of the largest singular value: below it a direction is not used


def overlaps(held: Sequence[Mapping[str, Stack]]) -> dict[str, tuple[Table, Table]]:
    """By weight, the overlap of what is written to and of what is read from.

    Args:
        held: of each update, its factors by weight, as `products.stacks` gives them.

    Returns:
        Two [K, K] tables a weight; 0 beside an update that leaves the weight alone.

    Example:
        >>> one = Stack(np.float32([[1], [0]]), np.float32([[1, 0, 0]]), 1.0)
        >>> other = Stack(np.float32([[2], [0]]), np.float32([[0, 1, 0]]), 1.0)
        >>> written, read = overlaps([{"w": one}, {"w": other}])["w"]
        >>> float(written[0, 1]), float(read[0, 1])
        (1.0, 0.0)
    """
    names = sorted({name for one in held for name in one})
    found: dict[str, tuple[Table, Table]] = {}
    with factors.one_thread():
        for name in names:
            stacks = [one.get(name) for one in held]
            written = [None if one is None else _basis(one.b) for one in stacks]
            read = [None if one is None else _basis(one.a.T) for one in stacks]
            found[name] = _table(written), _table(read)
    return found


def _basis(columns: npt.NDArray[np.floating]) -> Table:
    """[n, k] orthonormal columns that span the same."""
    left, values, _ = np.linalg.svd(columns.astype(np.float64), full_matrices=False)
    used = values > _LEAST * values[:1].sum()
    basis: Table = left[:, used]
    return basis


def _table(bases: Sequence[Table | None]) -> Table:
    count = len(bases)
    table = np.eye(count)
    for one in range(count):
        for other in range(one):
            left, right = bases[one], bases[other]
            table[one, other] = table[other, one] = _overlap(left, right)
    return table


def _overlap(left: Table | None, right: Table | None) -> float:
    if left is None or right is None:
        return 0.0
    smaller = min(left.shape[1], right.shape[1])
    if not smaller:
        return 0.0
    shared = left.T @ right
    return float(np.sum(shared * shared) / smaller)

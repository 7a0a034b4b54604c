"""Which updates belong together: clusters by their cosines."""

from collections.abc import Sequence

import numpy as np

Table = Sequence[Sequence[float]]


def clusters(cosine: Table, count: int) -> list[list[int]]:
    """Put rows together, the two clusters that are most alike first.

    Average linkage: two clusters are as alike as their members are on average.

    Args:
        cosine: [K][K].
        count: how many clusters are left at the end.

    Returns:
        Places, each cluster in order, the clusters by their first one.

    Example:
        >>> clusters([[1, 0.9, 0.1], [0.9, 1, 0], [0.1, 0, 1]], 2)
        [[0, 1], [2]]
    """
    table = np.array(cosine, np.float64).reshape(len(cosine), len(cosine))
    found = [[place] for place in range(len(table))]
    while len(found) > max(1, count):
        best = max(
            (
                (float(table[np.ix_(left, right)].mean()), -at, -beside)
                for at, left in enumerate(found)
                for beside, right in enumerate(found)
                if at < beside
            ),
        )
        at, beside = -best[1], -best[2]
        found[at] = sorted(found[at] + found.pop(beside))
    return sorted(found)

"""How much chance is in a mean: intervals and paired tests by drawing again.

Efron, Tibshirani, *An Introduction to the Bootstrap*, 1993, chapters 13 and 16. Draws
are keyed: the same values give the same interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...protocols import seeds

DRAWS = 10_000
LEAST = 3
"""Values below which nothing is said of chance."""
EXACT = 14
"""Differences up to which all their signs are tried, not drawn."""


@dataclass(frozen=True, slots=True)
class Chance:
    """What drawing again says of a mean of differences.

    Attributes:
        low: lower end of the interval, and
        high: its upper end.
        p: how often signs by chance alone would give as large a mean, either way.
    """

    low: float
    high: float
    p: float


def chance(gaps: Sequence[float], share: float = 0.95) -> Chance | None:
    """The interval of a mean of paired differences, and whether it may be nothing.

    The interval is of means of as many differences drawn from them; with few of them
    it is too narrow. The test turns each difference round or not, which pairs allow
    where neither side is better.

    Args:
        gaps: differences, a pair each.
        share: of the drawn means, how many lie within.

    Returns:
        None of fewer than `LEAST`.

    Example:
        >>> found = chance([0.02, 0.03, 0.025, 0.01, 0.015])
        >>> found.low > 0, found.p
        (True, 0.0625)
        >>> chance([0.1, 0.2]) is None
        True
    """
    if len(gaps) < LEAST:
        return None
    given = np.array(gaps, np.float64)
    count = len(given)
    key = seeds.key("bootstrap", count)
    places = (seeds.uniform(key, 0, DRAWS * count) * count).astype(np.int64)
    means = given[places.reshape(DRAWS, count)].mean(1)
    tail = 100 * (1 - share) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Chance(float(low), float(high), _turned(given))


def _turned(given: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    count = len(given)
    if count <= EXACT:
        masks = np.arange(1 << count)[:, None] >> np.arange(count) & 1
        signs = 1.0 - 2.0 * masks
    else:
        key = seeds.key("signs", count)
        drawn = seeds.uniform(key, 0, DRAWS * count).reshape(DRAWS, count)
        signs = np.where(drawn < 0.5, -1.0, 1.0)  # noqa: PLR2004
    means = np.abs((signs * given).mean(1))
    return float((means >= abs(given.mean()) - 1e-12).mean())

"""How much chance is in a mean: intervals and paired tests by drawing again.

Efron, Tibshirani, *An Introduction to the Bootstrap*, 1993, chapters 13 and 16. Draws
are keyed: the same values give the same interval.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...protocols import seeds

DRAWS = 10_000
LEAST = 3
"""Values below which nothing is said of chance."""
ALL = 50_000
"""Draws up to which all are gone through, not some of them."""
EXACT = 14
"""Differences up to which all their signs are tried, not drawn."""
_NEAR = 1e-12
_PIECE = 1 << 22
"""Values that are drawn at once."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Chance:
    """What drawing again says of a mean of differences.

    Attributes:
        low: lower end of the interval, and
        high: its upper end.
        p: the paired bootstrap's: how often differences drawn from these, moved so
            that their mean is nothing, have as large a mean, either way.
        signs: how often signs by chance alone would give as large a mean.
    """

    low: float
    high: float
    p: float
    signs: float


def chance(gaps: Sequence[float], share: float = 0.95) -> Chance | None:
    """The interval of a mean of paired differences, and whether it may be nothing.

    The interval is of means of as many differences drawn from them, and so is the
    test, moved to where there is no difference; with few of them both say too much.
    The test of signs turns each difference round or not, which pairs allow where
    neither side is better: with n pairs it says no less than 2^(1-n).

    Args:
        gaps: differences, a pair each.
        share: of the drawn means, how many lie within.

    Returns:
        None of fewer than `LEAST`.

    Example:
        >>> found = chance([0.02, 0.03, 0.025, 0.01, 0.015])
        >>> found.low > 0, found.p < 0.001, found.signs
        (True, True, 0.0625)
        >>> chance([0.1, 0.2]) is None
        True
    """
    if len(gaps) < LEAST:
        return None
    given = np.array(gaps, np.float64)
    means = _drawn(given)
    tail = 100 * (1 - share) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    far = np.abs(means - given.mean()) >= abs(given.mean()) - _NEAR
    return Chance(float(low), float(high), float(far.mean()), _turned(given))


def _drawn(given: Values) -> Values:
    """Means of as many values drawn from them: of every draw where those are few."""
    count = len(given)
    if count**count <= ALL:
        means: Values = np.stack(np.meshgrid(*[given] * count), -1).mean(-1).ravel()
        return means
    key = seeds.key("bootstrap", count)
    parts = [given[(one * count).astype(np.int64)].mean(1) for one in _rows(key, count)]
    found: Values = np.concatenate(parts)
    return found


def _rows(key: int, count: int) -> Iterator[Values]:
    """[n, count] numbers from 0 to 1, `DRAWS` rows in all."""
    most = max(1, _PIECE // count)
    for first in range(0, DRAWS, most):
        rows = min(most, DRAWS - first)
        yield seeds.uniform(key, first * count, rows * count).reshape(rows, count)


def _turned(given: Values) -> float:
    count = len(given)
    if count <= EXACT:
        masks = np.arange(1 << count)[:, None] >> np.arange(count) & 1
        signs = 1.0 - 2.0 * masks
        means = np.abs((signs * given).mean(1))
    else:
        key = seeds.key("signs", count)
        turned = (np.where(one < 0.5, -given, given) for one in _rows(key, count))  # noqa: PLR2004
        means = np.abs(np.concatenate([one.mean(1) for one in turned]))
    return float((means >= abs(given.mean()) - _NEAR).mean())

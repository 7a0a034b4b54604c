"""Metrics that merge: what several data owners found, as if one had found it.

Each is a commutative monoid (its default is zero), so clients' numbers may be merged
in any order and in any tree; sums are exact fractions of the numbers that came.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from .errors import PayloadError

_FALLING = ("loss", "perplexity", "error", "bits")


def falls(metric: str) -> bool:
    """Whether less of a metric is better.

    Example:
        >>> falls("validation_loss"), falls("perplexity/code"), falls("macro_f1")
        (True, True, False)
    """
    return any(part in _FALLING for part in re.split("[_/]", metric))


@dataclass(frozen=True, slots=True)
class Mean:
    """A weighted mean.

    Attributes:
        total: sum of weight times value.
        count: sum of the weights.

    Example:
        >>> Mean.of(1.0, 1).merge(Mean.of(0.0, 3)).read()
        0.25
    """

    total: Fraction = Fraction(0)
    count: int = 0

    @classmethod
    def of(cls, value: float, count: int = 1) -> "Mean":
        """`count` observations whose mean is `value`.

        Raises:
            PayloadError: the value is not finite, or the count negative.
        """
        try:
            exact = Fraction(value)
        except (ValueError, OverflowError):
            raise PayloadError(f"a mean of {value}") from None
        if count < 0:
            raise PayloadError(f"a mean over {count} observations")
        return cls(exact * count, count)

    def merge(self, other: "Mean") -> "Mean":
        """Both together."""
        return Mean(self.total + other.total, self.count + other.count)

    def read(self) -> float:
        """The mean; 0 of nothing."""
        return float(self.total / self.count) if self.count else 0.0


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts in bins that all agreed on.

    Attributes:
        edges: increasing; bin i holds ``edges[i] <= value < edges[i + 1]``, the last
            one its right edge too, and what lies outside goes to the nearest bin.
        counts: one fewer than edges.

    Example:
        >>> Histogram.of([0, 1, 2], [0.5, 1.5, 2.0, 7.0]).read()
        (0.25, 0.75)
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, edges: Iterable[float], values: Iterable[float] = ()) -> "Histogram":
        """Count values.

        Raises:
            PayloadError: fewer than two edges, or edges that do not increase.
        """
        bounds = tuple(float(edge) for edge in edges)
        steps = pairwise(bounds)
        if not bounds[1:] or not all(low < high for low, high in steps):
            raise PayloadError("a histogram needs increasing edges")
        counts = [0] * (len(bounds) - 1)
        for value in values:
            place = sum(value >= edge for edge in bounds[1:-1])
            counts[place] += 1
        return cls(bounds, tuple(counts))

    def merge(self, other: "Histogram") -> "Histogram":
        """Both together.

        Raises:
            PayloadError: they have other edges.
        """
        if other.edges != self.edges:
            raise PayloadError("histograms with other edges do not merge")
        pairs = zip(self.counts, other.counts, strict=True)
        return Histogram(self.edges, tuple(one + two for one, two in pairs))

    def read(self) -> tuple[float, ...]:
        """The share of each bin; zeros of nothing."""
        total = sum(self.counts)
        return tuple(count / total if total else 0.0 for count in self.counts)


def merge(
    replies: Iterable[Mapping[str, float]], count: str = "examples"
) -> dict[str, float]:
    """Clients' means by name as one, weighted by how many examples each judged.

    Args:
        replies: each client's numbers, `count` among them.
        count: the name of the number of examples; its sum is in the result.

    Raises:
        PayloadError: a number is not finite, or a count is missing or no whole number.

    Example:
        >>> merge([{"accuracy": 1, "examples": 1}, {"accuracy": 0, "examples": 3}])
        {'accuracy': 0.25, 'examples': 4.0}
    """
    means: dict[str, Mean] = {}
    total = 0
    for reply in replies:
        weight = reply.get(count, -1)
        if weight < 0 or weight != int(weight):
            raise PayloadError(f"{count} is no whole number: {weight}")
        total += int(weight)
        for name, value in reply.items():
            if name != count:
                one = Mean.of(value, int(weight))
                means[name] = means.get(name, Mean()).merge(one)
    return {name: means[name].read() for name in sorted(means)} | {count: float(total)}

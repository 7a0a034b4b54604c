"""What a sequence of noisy releases adds up to: epsilon at a delta.

By the privacy loss distributions of `dp-accounting
<https://pypi.org/project/dp-accounting/>`_ (the extra ``privacy``), whose numbers are
upper bounds. Adjacency is add or remove one: one client, or one record, more or less.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from ..protocols.errors import ConfigError

Counts = tuple[tuple[float, float], int]

_ROUNDS_TRIED = 60
_FINE, _MOST, _LEAST, _BARE = 1e-3, 1e4, 0.02, 0.1


@dataclass(frozen=True, slots=True)
class Event:
    """Gaussian noise on sums over a sample.

    Attributes:
        multiplier: the noise's deviation over the sensitivity, above 0.
        rate: the chance of each client or record to be in the sample, for each on its
            own; 1: all are.
        times: how often, with fresh noise and a fresh sample.
    """

    multiplier: float
    rate: float = 1.0
    times: int = 1


def needed() -> None:
    """See that the accountant is installed.

    Raises:
        ConfigError: it is not.
    """
    if find_spec("dp_accounting") is None:
        raise ConfigError(
            'privacy.mode needs the accountant: pip install "fedelta[privacy]"'
        )


def epsilon(events: Iterable[Event], delta: float) -> float:
    """The least epsilon that is known to hold; infinite where none is.

    Source: Koskela et al., `Computing Tight Differential Privacy Guarantees Using FFT
    <https://arxiv.org/abs/1906.03049>`_, 2020; Doroshenko et al., `Connect the Dots
    <https://arxiv.org/abs/2207.04380>`_, 2022.

    Raises:
        ConfigError: the accountant is not installed.
    """
    counted: Counter[tuple[float, float]] = Counter()
    for one in events:
        counted[one.multiplier, one.rate] += one.times
    if not counted:
        return 0.0
    if any(multiplier < _LEAST for multiplier, _ in counted):
        return math.inf  # no bound that means anything, and more than memory holds
    return _composed(tuple(sorted(counted.items())), delta)


@lru_cache(maxsize=256)
def _composed(counted: tuple[Counts, ...], delta: float) -> float:
    """Epsilon of events by multiplier and rate: half a second where there are rates."""
    needed()
    from dp_accounting import NeighboringRelation
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)
    for (multiplier, rate), times in counted:
        accountant.compose(_event(multiplier, rate), times)
    return float(accountant.get_epsilon(delta))


def multiplier(budget: float, delta: float, rate: float, times: int) -> float:
    """The least noise multiplier, to 10^-3 of itself, whose releases keep a budget.

    Args:
        budget: epsilon, above 0.
        delta: the chance that is left.
        rate: of the sample.
        times: how many releases.

    Raises:
        ConfigError: no multiplier up to 10^4 keeps it.
    """

    def over(tried: float) -> float:
        if tried < _BARE:
            return math.inf
        found = epsilon([Event(tried, rate, times)], delta)
        return math.log(found / budget) if found > 0 else -math.inf

    high, above = 1.0, over(1.0)
    while above > 0:
        high *= 2.0
        if high > _MOST:
            raise ConfigError(f"no noise keeps epsilon {budget:g} at delta {delta:g}")
        above = over(high)
    low = high / 2.0
    below = over(low)
    while below <= 0:
        high, above, low = low, below, low / 2.0
        below = over(low)
    for _ in range(_ROUNDS_TRIED):
        if high - low <= _FINE * high:
            break
        middle = _between(low, high, below / (below - above))
        if (found := over(middle)) > 0:
            low, below = middle, found
        else:
            high, above = middle, found
    return high


def _between(low: float, high: float, share: float) -> float:
    """Where epsilon, a straight line in logarithms, would meet the budget, or next.

    A little above it; close to an end already reached, the least step that settles it.
    """
    if not math.isfinite(share) or share >= 1:
        return 0.5 * (low + high)
    middle = low * math.pow(high / low, share) * (1.0 + 0.25 * _FINE)
    if middle >= high * (1.0 - 0.5 * _FINE):
        return high * (1.0 - 0.9 * _FINE)
    return max(middle, low * (1.0 + 0.9 * _FINE))


def most(event: Event, budget: float, delta: float, rounds: int) -> int:
    """How many of some planned rounds keep a budget, each with one such event."""
    low, high = 0, rounds
    while low < high:
        middle = (low + high + 1) // 2
        spent = [Event(event.multiplier, event.rate, event.times * middle)]
        if epsilon(spent, delta) <= budget:
            low = middle
        else:
            high = middle - 1
    return low


def _event(multiplier: float, rate: float) -> Any:
    from dp_accounting import dp_event

    gaussian = dp_event.GaussianDpEvent(multiplier)
    return gaussian if rate >= 1 else dp_event.PoissonSampledDpEvent(rate, gaussian)

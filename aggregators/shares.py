"""Who counts how much: weights as small integers.

Integer weights make sums exact. Real ones become the integers of their exact ratio
where that is small; otherwise they are rounded to 2^30 shares, so that what is lost of
a weight (2^-31 of the total) is less than float32 can tell.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from ..protocols.errors import ConfigError, QuorumError

LARGEST = 1 << 20
FINEST = 1 << 30
_NEAR = 1e-12


def checked(shares: Mapping[str, int], *, adds: bool) -> None:
    """Hold shares to what a recipe can do with them.

    Args:
        shares: by member.
        adds: whether weights are taken as they are.

    Raises:
        ConfigError: a negative share where the recipe averages.
        QuorumError: all shares are zero.
    """
    for name, share in shares.items():
        if share < 0 and not adds:
            raise ConfigError(
                f"{name} has a negative weight: a recipe that averages could divide "
                "by almost nothing; only task_arithmetic takes negative weights"
            )
    if not any(shares.values()):
        raise QuorumError("all weights are zero: nothing to merge")


def fitted(shares: Mapping[str, int], limit: int = FINEST) -> dict[str, int]:
    """Shares that add up to at most a limit, by largest remainder.

    Example:
        >>> fitted({"a": 3, "b": 6}), fitted({"a": 2, "b": 1}, limit=2)
        ({'a': 3, 'b': 6}, {'a': 1, 'b': 1})
    """
    total = sum(abs(share) for share in shares.values())
    if total <= limit:
        return dict(shares)
    exact = {name: Fraction(share * limit, total) for name, share in shares.items()}
    rounded = {name: math.trunc(share) for name, share in exact.items()}
    rest = limit - sum(abs(share) for share in rounded.values())
    order = sorted(exact, key=lambda one: (-abs(exact[one] - rounded[one]), one))
    for name in order[:rest]:
        rounded[name] += 1 if exact[name] > 0 else -1
    return rounded


def ratios(weights: Sequence[float]) -> tuple[tuple[int, ...], float]:
    """Real weights as integer shares and what one share is worth.

    Raises:
        ConfigError: a weight is not finite.

    Example:
        >>> ratios([0.3, 0.7]), ratios([2, 4])
        (((3, 7), 0.1), ((1, 2), 2.0))
    """
    if not all(math.isfinite(weight) for weight in weights):
        raise ConfigError(f"weights must be finite numbers, not {list(weights)}")
    near = [Fraction(weight).limit_denominator(LARGEST) for weight in weights]
    scale = math.lcm(*(one.denominator for one in near)) if near else 1
    whole = [int(one * scale) for one in near]
    common = math.gcd(*whole) or 1
    shares = tuple(one // common for one in whole)
    far = any(abs(one - w) > _NEAR for one, w in zip(near, weights, strict=True))
    if not far and sum(map(abs, shares)) <= LARGEST:
        return shares, common / scale
    total = sum(abs(Fraction(weight)) for weight in weights)
    fine = [Fraction(w) * (FINEST - len(weights)) / total for w in weights]
    return tuple(round(one) for one in fine), float(total / (FINEST - len(weights)))


def weighed(
    weights: Sequence[float] | None, count: int
) -> tuple[tuple[int, ...], float]:
    """Weights as integer shares, and what one share is worth.

    Raises:
        ConfigError: not one a model, or all zero.
    """
    given = [1.0] * count if weights is None else list(weights)
    if len(given) != count:
        raise ConfigError(f"{len(given)} weights for {count} models: give one each")
    shares, unit = ratios(given)
    if not any(shares):
        raise ConfigError(f"weights {given} are all zero")
    return shares, unit

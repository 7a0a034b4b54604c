"""Losses of language models from several data owners, as if one had measured them."""

import math
import sys
from collections.abc import Iterable, Mapping

from .errors import PayloadError
from .metrics import Mean

LOSS, PERPLEXITY, TOKENS = "loss", "perplexity", "tokens"


def perplexity(loss: float) -> float:
    """The exponential of a loss (nats a token), at most the largest float.

    Example:
        >>> perplexity(0.0), perplexity(1e6) < math.inf
        (1.0, True)
    """
    try:
        return math.exp(loss)
    except OverflowError:
        return sys.float_info.max


def merge(replies: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """What data owners found, by tokens and not by texts.

    A loss counts by its tokens, in all and domain by domain. Perplexities are taken of
    merged losses, for a mean of perplexities is none; the one of all texts is the
    geometric mean of the domains', texts without a domain being one more.

    Args:
        replies: of each the "loss" (nats a token), "tokens", and of each domain
            "perplexity/NAME" and "tokens/NAME".

    Raises:
        PayloadError: a number is missing, or none that there can be.

    Example:
        >>> a = {"loss": math.log(4), "tokens": 3.0}
        >>> b = {"loss": math.log(64), "tokens": 1.0}
        >>> {name: round(one, 6) for name, one in merge([a, b]).items()}
        {'loss': 2.079442, 'perplexity': 8.0, 'tokens': 4.0}
    """
    total = Mean()
    domains: dict[str, Mean] = {}
    for reply in replies:
        for name, one in _told(reply).items():
            domains[name] = domains.get(name, Mean()).merge(one)
            total = total.merge(one)
    found = {LOSS: total.read(), TOKENS: float(total.count)}
    counted = {name: one for name, one in domains.items() if one.count}
    for name in sorted(counted):
        if name:
            found[f"{PERPLEXITY}/{name}"] = perplexity(counted[name].read())
            found[f"{TOKENS}/{name}"] = float(counted[name].count)
    means = [one.read() for one in counted.values()]
    found[PERPLEXITY] = perplexity(math.fsum(means) / max(1, len(means)))
    return dict(sorted(found.items()))


def _told(reply: Mapping[str, float]) -> dict[str, Mean]:
    """One reply's losses by domain; what has no domain is by the empty name."""
    found: dict[str, Mean] = {}
    rest = Mean.of(_number(reply, LOSS), _count(reply, TOKENS))
    for key in reply:
        kind, cut, name = key.partition("/")
        if kind != PERPLEXITY or not cut:
            continue
        value, count = _number(reply, key), _count(reply, f"{TOKENS}/{name}")
        if value <= 0:
            raise PayloadError(f"{key} is {value}")
        found[name] = Mean.of(math.log(value), count)
        rest = Mean(rest.total - found[name].total, rest.count - count)
    if rest.count < 0:
        raise PayloadError("the domains have more tokens than there are")
    if rest.count:
        found[""] = rest
    return found


def _number(reply: Mapping[str, float], name: str) -> float:
    value = reply.get(name, math.nan)
    if not math.isfinite(value):
        raise PayloadError(f"{name} is {value}")
    return value


def _count(reply: Mapping[str, float], name: str) -> int:
    value = _number(reply, name)
    if value < 0 or value % 1:
        raise PayloadError(f"{name} is no whole number: {value}")
    return int(value)

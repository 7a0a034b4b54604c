"""A configuration as the terms of a masked round: both sides draw them, and compare."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..protocols import terms as rules
from ..protocols.errors import ConfigError
from ..protocols.settings import Config
from ..protocols.terms import Terms
from . import portions, supports
from .fields import fraction, sides
from .recipes import properties
from .recipes import recipe as read
from .scales import PACKED
from .shares import fitted
from .supports import PRIVATE, Choice

SPACES = ("full", "frozen-a", "factors")
"""Spaces whose state is a sum of a fixed size in which clients work themselves."""

UNTRIED = {
    "core": "masked sums of cores are not tried, and so not offered",
    "share-a": "a masked round keeps nothing at a client, and B has to stay there",
}
"""Spaces that are sums of a fixed size and yet do not go with masks, and why."""


@dataclass(frozen=True, slots=True)
class Where:
    """What a masked round is about.

    Attributes:
        run: the run's id.
        round: counted from 1.
        base: digest of the model version that training starts from.
        layout: fingerprint of a contribution's layout.
    """

    run: str
    round: int
    base: str
    layout: str


def space(config: Config) -> str:
    """The space that a run merges in."""
    return "full" if config.train.mode == "full" else config.lora.space


def shared(weights: Mapping[str, int], config: Config) -> dict[str, int]:
    """What each client counts for: whole numbers that add up to about 1023, from 1.

    Example:
        >>> shared({"a": 10, "b": 30}, Config())
        {'a': 10, 'b': 30}
    """
    alike = config.merge.weights == "uniform"
    alike |= read(config.merge.recipe).reducer.adds
    if alike:
        return dict.fromkeys(weights, 1)
    return {name: max(1, one) for name, one in fitted(weights, PACKED).items()}


def exponent(bound: float) -> int:
    """The least e with a bound at most 2^e.

    Example:
        >>> exponent(8.0), exponent(0.3)
        (3, -1)
    """
    mantissa, found = math.frexp(bound)
    return found - 1 if mantissa == 0.5 else found  # noqa: PLR2004


def drawn(
    config: Config, where: Where, shares: Mapping[str, int], attempt: str, places: str
) -> Terms:
    """A round's terms.

    Args:
        config: the run's.
        where: the round.
        shares: by client that is asked, what it counts for.
        attempt: what the server draws anew each time.
        places: digest of the places that travel; empty: none do.

    Raises:
        ConfigError: nothing safe can be agreed on; the message names the key.
    """
    given, recipe = config.privacy, config.merge.recipe
    names, made = tuple(sorted(shares)), read(recipe)
    noisy, total = portions.asked(given), sum(shares.values())
    two = supports.needs_two(recipe, given.support, given.release)
    bits = portions.fraction(made, given.lane, total) if noisy else 0
    bits = bits or fraction(made.reducer, given.lane, total)
    most, least = exponent(given.bound), rules.least(len(names), given.colluders)
    threshold, step = given.threshold or least, math.ldexp(1.0, most - bits)
    found = Terms(
        run=where.run,
        round=where.round,
        attempt=attempt,
        base=where.base,
        layout=where.layout,
        recipe=recipe,
        space=space(config),
        names=names,
        shares=tuple(shares[name] for name in names),
        threshold=threshold,
        colluders=given.colluders,
        release=given.release,
        slack=given.slack,
        support=given.support,
        passes=2 if two else 1,
        places=places,
        lane=given.lane,
        fraction=bits,
        exponent=most,
        clip=given.clip if noisy else 0.0,
        noise=portions.deviation(given, threshold, step) if noisy else 0.0,
    )
    rules.check(found)
    if noisy:
        portions.check(found)
    return found


def check(config: Config) -> None:
    """Hold a configuration with masks to what can be done under masks.

    Raises:
        ConfigError: the message names the key and what is allowed.
    """
    if not config.privacy.secure_aggregation:
        return
    if space(config) in UNTRIED:
        raise ConfigError(
            f'lora.space = "{space(config)}": {UNTRIED[space(config)]}: under masks '
            'take "frozen-a", "factors", or train.mode = "full"'
        )
    if space(config) not in SPACES:
        raise ConfigError(
            f'lora.space = "{space(config)}" keeps no sum of a fixed size that clients '
            'can add up: under masks take "frozen-a", "factors", or train.mode = "full"'
        )
    if not properties(read(config.merge.recipe), space(config)).maskable:
        raise ConfigError(
            f"{config.merge.recipe} needs what each client sent: no masks; "
            "`fedelta methods` names those that are sums"
        )
    made = choice(config)
    if made.kind == "public" and space(config) == "factors":
        raise ConfigError(
            'the last update of "factors" says nothing of where A changes: take '
            'lora.space = "frozen-a" or privacy.support = "private"'
        )
    for key, there in (
        (
            'privacy.noise_by = "server"',
            config.privacy.mode == "client" and not portions.asked(config.privacy),
        ),
        ('merge.tree = "regions"', config.merge.tree == "regions"),
        ("train.scaffold", config.train.scaffold),
        ("round.norm_cap", bool(config.round.norm_cap)),
        ("wire.up_bytes", bool(config.wire.up_bytes)),
        ("round.retries", bool(config.round.retries)),
        ("round.over_select", bool(config.round.over_select)),
        (f'round.late = "{config.round.late}"', config.round.late != "refuse"),
        (f'round.mode = "{config.round.mode}"', config.round.mode != "sync"),
        ("eval.probes", config.eval.probes),
        (f'gate.policy = "{config.gate.policy}"', config.gate.policy != "off"),
        ('run.engine = "flower"', config.run.engine == "flower"),
    ):
        if there:
            raise ConfigError(
                f"privacy.secure_aggregation does not go with {key}: the server sees "
                "one sum, of one cohort, once"
            )
    if not (math.isfinite(config.privacy.bound) and config.privacy.bound > 0):
        raise ConfigError("privacy.bound must be a finite number above 0")
    asked = config.round.clients or len(config.clients) or config.data.clients
    if not config.data.partition.startswith("column:"):
        sample = {f"{place:06}": 1 for place in range(asked)}
        drawn(config, Where("", 1, "", ""), sample, "", "")


def choice(config: Config) -> Choice:
    """How contributions are brought to places.

    Raises:
        ConfigError: they cannot be.
    """
    return supports.choice(config.merge.recipe, config.privacy.support)


def told(config: Config, clients: int, elements: int = 0) -> dict[str, object]:
    """What a plan says of a masked run: its numbers, and the leak of each choice.

    Args:
        config: the run's.
        clients: how many a round asks.
        elements: of a contribution; 0: not known.

    Returns:
        Numbers and texts by name; "leaks" by choice the expected share of elements
        that are opened from fewer than `privacy.release` clients (at least 3).
    """
    given, text = config.privacy, config.merge.recipe
    agreed = sides(read(text).reducer) > 1
    least = max(given.release, rules.LEAST)
    made, leaks = choice(config), {}
    for name, support in (("shared", "shared"), ("private", PRIVATE)):
        try:
            one = supports.choice(text, support)
        except ConfigError:
            continue
        leaks[f"{name}, one pass"] = supports.leak(clients, least, one, agreed=agreed)
        leaks[f"{name}, counts first"] = 0.0
    sample = {f"{place:06}": 1 for place in range(clients)}
    terms = drawn(config, Where("", 1, "", ""), sample, "", "")
    return {
        "clients": clients,
        "threshold": terms.threshold,
        "colluders": terms.colluders,
        "release": terms.release,
        "slack": terms.slack,
        "passes": terms.passes,
        "places": made.kind,
        "density": made.density,
        "fraction": terms.fraction,
        "bound": math.ldexp(1.0, terms.exponent),
        "noise": terms.noise,
        "bytes": _bytes(terms, elements, made),
        "leaks": leaks,
    }


def _bytes(terms: Terms, elements: int, made: Choice) -> int:
    """The most bytes of masked words that a client sends in a round."""
    state, kept = portions.state(terms), made.kind in ("keyed", "public")
    count = math.ceil(elements * made.density) if kept else elements
    words = state.values.words(count)
    words += state.counts.words(count) if terms.passes > 1 else 0
    return words * terms.lane // 8

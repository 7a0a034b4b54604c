"""What a planned run promises: the epsilon it spends, and what masks would open."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...aggregators import agreements
from ...client.accountants import Event, epsilon
from ...client.clippings import sampling
from ...protocols.errors import ConfigError
from ...protocols.settings import Config


def privacy(
    config: Config, rounds: Mapping[str, tuple[int, int]]
) -> dict[str, Any] | None:
    """What the schedule spends, where a run is private; None otherwise.

    Args:
        config: the run's.
        rounds: by client, where its data is here, how many examples it trains on and
            how often it is asked.

    Returns:
        "mode", "budget", "delta"; "epsilon", where it is known: of records the most
        that any client's own ledger comes to.
    """
    table = config.privacy
    if table.mode == "none":
        return None
    told = {"mode": table.mode, "budget": table.epsilon or None, "delta": table.delta}
    if not table.noise_multiplier:
        return told
    if table.mode == "client":
        event = Event(table.noise_multiplier, table.rate, config.run.rounds)
        return told | {"epsilon": epsilon([event], table.delta)}
    asked = {(sampling(config, count), often) for count, often in rounds.values()}
    most = [one for one in asked if not any(_above(other, one) for other in asked)]
    if not most:
        return told
    spent = (_of_records(config, chance, often) for chance, often in most)
    return told | {"epsilon": max(spent)}


def _above(other: tuple[float, int], one: tuple[float, int]) -> bool:
    """Whether one client surely spends more than another, and need alone be asked."""
    return other != one and other[0] >= one[0] and other[1] >= one[1]


def _of_records(config: Config, chance: float, often: int) -> float:
    """Epsilon of one client's rounds: those with most steps, if it is not in all."""
    steps = (config.train.steps_in(n) for n in range(1, config.run.rounds + 1))
    noise = config.privacy.noise_multiplier
    given = [Event(noise, chance, one) for one in sorted(steps, reverse=True)[:often]]
    return epsilon(given, config.privacy.delta)


def secure(config: Config, clients: int, elements: int) -> dict[str, Any]:
    """What a masked round opens, and what each choice would; without masks, would open.

    Args:
        config: the run's.
        clients: how many there are.
        elements: of a contribution.

    Returns:
        "on"; "opens", in words; what `agreements.told` says of masks, or "lacking",
        why there can be none.
    """
    asked = config.round.clients or clients
    there = config.privacy.secure_aggregation
    masked = replace(config, privacy=replace(config.privacy, secure_aggregation=True))
    try:
        agreements.check(masked)
        said = agreements.told(masked, asked, elements)
    except ConfigError as error:
        if there:
            raise
        return {"on": False, "opens": "every reply", "lacking": str(error)}
    least = f"sums of at least {said['threshold']} of {said['clients']} clients"
    opens = least if there else f"every reply; with masks {least}"
    return {"on": there, "opens": opens} | said

"""How rounds follow each other: all together, or each client at its own pace.

In an asynchronous run (FedBuff: Nguyen et al., `Federated Learning with Buffered
Asynchronous Aggregation <https://arxiv.org/abs/2106.06639>`_, 2022) a round is over as
soon as so many replies are there, whoever they are from and whatever version they
started from. One that is s versions behind counts for 1 / sqrt(1 + s) of its weight. A
client whose reply was merged gets the newest version and begins again; the others go on
with what they are at.

In a simulation the order of arrival follows from what a round takes each client on a
simulated clock (``seconds`` of [[clients]]), and from nothing else. So a run is
reproducible, and one that was killed goes on to the same bytes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..protocols import seeds
from ..protocols.errors import ConfigError
from ..protocols.settings import Config

if TYPE_CHECKING:
    from .rosters import Member

ASYNC, KEEP = "async", "keep"
FINENESS = 1 << 10
"""Parts that a share is divided into where some replies count for less."""
_SLOWEST = 10.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One client's part in a round.

    Attributes:
        client: its name.
        since: the round that it was asked in; below the round's own number it is
            stale.
    """

    client: str
    since: int


def check(config: Config) -> None:
    """Refuse paces that do not go with the rest.

    Raises:
        ConfigError: names the keys.
    """
    given = config.round
    if given.buffer < 0 or given.over_select < 0:
        raise ConfigError("round.buffer and round.over_select must be 0 or more")
    if any(one.seconds < 0 for one in config.clients):
        raise ConfigError("seconds of [[clients]] must be 0 or more")
    if given.over_select and not given.clients:
        raise ConfigError("round.over_select is over round.clients: set that too")
    if given.mode != ASYNC:
        return
    if given.clients or given.over_select:
        raise ConfigError(
            'round.mode = "async": everybody is asked: leave round.clients and '
            "round.over_select at 0 and set round.buffer"
        )
    if config.privacy.mode != "none":
        raise ConfigError(
            'round.mode = "async": the privacy ledger counts rounds that ask by coins: '
            'set round.mode = "sync"'
        )
    if config.merge.tree != "flat":
        raise ConfigError(
            'round.mode = "async" merges on one server: merge.tree = "flat"'
        )


def size(config: Config, clients: int) -> int:
    """How many replies fill the buffer.

    Example:
        >>> from fedelta.protocols.settings import Round
        >>> size(Config(), 5), size(Config(round=Round(buffer=9)), 5)
        (2, 5)
    """
    return max(1, min(config.round.buffer or clients // 2, clients))


def enough(config: Config, asked: int) -> int:
    """How many accepted replies end a round at once; 0: it waits for all."""
    if config.round.mode == ASYNC:
        return size(config, asked)
    return config.round.clients if config.round.over_select else 0


def selected(config: Config) -> int:
    """How many clients a round asks; 0: all.

    Example:
        >>> from fedelta.protocols.settings import Round
        >>> selected(Config(round=Round(clients=10, over_select=0.25)))
        13
    """
    return math.ceil(config.round.clients * (1 + config.round.over_select))


def durations(config: Config, clients: Iterable[str]) -> dict[str, float]:
    """What a round takes each client on the simulated clock.

    Where [[clients]] do not say it: 1 to 10 seconds, drawn from the seed, as many below
    3 as above.
    """
    said = {one.name: one.seconds for one in config.clients}
    return {
        name: said.get(name) or _SLOWEST ** _drawn(config.run.seed, name)
        for name in clients
    }


def turns(config: Config, clients: Sequence[str], number: int) -> list[Turn]:
    """Whose replies fill a simulated round's buffer, and since when they are at it.

    Example:
        >>> from fedelta.protocols.settings import Client, Round
        >>> pace = Config(round=Round(mode="async", buffer=2), clients=(
        ...     Client("a", seconds=1), Client("b", seconds=2), Client("c", seconds=5)))
        >>> [[(one.client, one.since) for one in turns(pace, "abc", n)]
        ...  for n in (1, 2, 3)]
        [[('a', 1), ('b', 1)], [('a', 2), ('b', 2)], [('a', 3), ('c', 1)]]
    """
    takes = durations(config, clients)
    ends = dict(takes)
    since = dict.fromkeys(clients, 1)
    count = size(config, len(clients))
    for reached in range(1, number + 1):
        first = sorted(clients, key=lambda name: (ends[name], name))[:count]
        if reached == number:
            break
        now = ends[first[-1]]
        for name in first:
            ends[name], since[name] = now + takes[name], reached + 1
    return [Turn(name, since[name]) for name in first]


def weighed(shares: Mapping[str, int], stale: Mapping[str, int]) -> dict[str, int]:
    """Shares by staleness; as they are where nobody is stale.

    Args:
        shares: by client.
        stale: by client, how many versions it is behind.

    Example:
        >>> weighed({"a": 10, "b": 10}, {"a": 0, "b": 3})
        {'a': 10240, 'b': 5120}
        >>> weighed({"a": 10}, {})
        {'a': 10}
    """
    if not any(stale.values()):
        return dict(shares)
    return {
        name: max(1, round(FINENESS * one / math.sqrt(1 + stale.get(name, 0))))
        for name, one in shares.items()
    }


def members(roster: Iterable["Member"], turned: Iterable[Turn]) -> "list[Member]":
    """The members whose turn it is, in name order."""
    names = {one.client for one in turned}
    return [one for one in roster if one.name in names]


def _drawn(seed: int, name: str) -> float:
    return float(seeds.uniform(seeds.key("pace", seed, name), 0, 1)[0])

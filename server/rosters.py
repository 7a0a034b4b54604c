"""Who takes part: each client by name, and what the server knows of it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from ..protocols import seeds
from ..protocols.settings import Config
from . import paces


@dataclass(slots=True)
class Member:
    """One client.

    Attributes:
        name: its roster name; Flower's node ids change with every run.
        node: the node that speaks for it now.
        examples: training examples, as it declared before round 1.
        cap: it counts for at most this many; 0: no cap.
        region: its branch of the tree.
        held: how many updates it is known to have; 0 after anything went wrong.
        accepted: the last round of which its reply was accepted; 0: none.
    """

    name: str
    node: int
    examples: int
    cap: int = 0
    region: str = ""
    held: int = 0
    accepted: int = 0

    @property
    def weight(self) -> int:
        """What it counts for, by examples."""
        return min(self.examples, self.cap) if self.cap else self.examples


class Roster:
    """The members in name order.

    Example:
        >>> roster = Roster([Member("b", 3, 10), Member("a", 2, 30, cap=20)])
        >>> [member.name for member in roster], roster["a"].weight
        (['a', 'b'], 20)
    """

    def __init__(self, members: Iterable[Member]) -> None:
        self._members = {one.name: one for one in sorted(members, key=_by_name)}

    def __iter__(self) -> Any:
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, name: str) -> Member:
        return self._members[name]

    def sample(self, config: Config, run: str, number: int) -> list[Member]:
        """Whom a round asks: all, or so many, drawn by seed, in name order."""
        everyone = list(self._members.values())
        wanted = paces.selected(config) or len(everyone)
        if wanted >= len(everyone):
            return everyone
        order = seeds.permutation(seeds.key(run, number, "sample"), len(everyone))
        return [everyone[place] for place in sorted(order[:wanted].tolist())]

    def memory(self) -> dict[str, dict[str, int]]:
        """What a manifest keeps of each member."""
        return {
            one.name: {
                "examples": one.examples,
                "held": one.held,
                "accepted": one.accepted,
            }
            for one in self
        }

    @classmethod
    def of(
        cls,
        nodes: Mapping[str, int],
        memory: Mapping[str, Mapping[str, int]],
        config: Config,
        regions: Mapping[str, str],
    ) -> Self:
        """Members from what was queried or kept.

        Args:
            nodes: the node of each client.
            memory: as `memory` gives it.
            config: for caps.
            regions: the region of each client.
        """
        caps = {client.name: client.examples_cap for client in config.clients}
        return cls(
            Member(
                name,
                nodes[name],
                kept["examples"],
                caps.get(name, 0),
                regions.get(name, ""),
                kept.get("held", 0),
                kept.get("accepted", 0),
            )
            for name, kept in memory.items()
        )


def quorum(config: Config, asked: int) -> int:
    """How many accepted replies a round needs, at least 1.

    Example:
        >>> from fedelta.protocols.settings import Round
        >>> quorum(Config(round=Round(quorum=0.5)), 5)
        3
    """
    wanted = config.round.quorum
    return max(1, int(wanted) if wanted >= 1 else math.ceil(wanted * asked))


def _by_name(member: Member) -> str:
    return member.name

"""Rounds among honest and hostile clients, in this process: no wire, no journal.

Merges are the package's own; what a hostile client sends takes the place of its change
after training, before the merge.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from fedelta.aggregators.base import Key
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.spaces import Arrival, Merged, merge_round, omitted
from fedelta.benchmarks.adversaries import ATTACKS, Change, Field
from fedelta.benchmarks.arenas import PROBE, Arena
from fedelta.client.trials import trial
from fedelta.protocols import seeds
from fedelta.protocols.errors import BoundsError
from fedelta.protocols.settings import Gate
from fedelta.protocols.vectors import Floats, TaskVector
from fedelta.server.evidence.policies import POLICIES

LEFT_OUT = "quarantine: "
"""Before a recipe: what the gate's policy of that name leaves of it."""
RANK = 8


@dataclass(frozen=True, slots=True)
class Cell:
    """One federation under attack.

    Attributes:
        attack: its name.
        defence: the recipe's text, after `LEFT_OUT` where there is a gate.
        share: of the clients that are hostile, f / n.
        space: of the merge.
        alpha: of the Dirichlet partition; 100: nearly IID.
        seed: of data and training.
        rounds: how many.
    """

    attack: str
    defence: str
    share: float
    space: str = "frozen-a"
    alpha: float = 100.0
    seed: int = 0
    rounds: int = 1


def fight(arena: Arena, cell: Cell) -> dict[str, Any]:
    """Run one federation; what the model is worth, and what the attack reached.

    Args:
        arena: its data and model, of the cell's space, skew and seed.
        cell: the rest.

    Returns:
        What `Arena.score` tells; "hostile", how many clients attack.
    """
    attack = ATTACKS[cell.attack]
    hostile = int(cell.share * len(arena.names) + 1e-9)
    arena.base.reset()
    for number in range(1, cell.rounds + 1):
        sent = _sent(arena, cell, number, hostile)
        if update := _update(arena, cell, sent, number):
            arena.base.fold(update)
    told = arena.score(trigger=attack.triggered or cell.attack == "none")
    return {name: round(one, 5) for name, one in told.items()} | {"hostile": hostile}


def _sent(arena: Arena, cell: Cell, number: int, hostile: int) -> dict[str, Change]:
    """What everybody sends: the last names are the attackers."""
    attack, names = ATTACKS[cell.attack], arena.names
    kept = len(names) - hostile
    sent = {n: arena.change(n, number, cell.rounds, None) for n in names[:kept]}
    honest = list(sent.values())
    for name in names[kept:]:
        own = arena.change(name, number, cell.rounds, attack.poison)
        key = seeds.key("attack", cell.seed, number, name)
        given = (honest, own, len(names), hostile, key, arena.start(number))
        if made := attack.send(Field(*given)):
            sent[name] = made
    if PROBE in cell.defence:
        sent[PROBE] = arena.change(PROBE, number, cell.rounds, None)
    return sent


def _update(
    arena: Arena, cell: Cell, sent: Mapping[str, Change], number: int
) -> dict[str, Floats]:
    """What is folded; nothing where the round cannot be merged."""
    start, pairs = arena.start(number), arena.base.pairs(arena.config)
    arrivals = [
        Arrival(name, TaskVector.of(change), 1, "", pairs, start)
        for name, change in sorted(sent.items())
    ]
    text = cell.defence.removeprefix(LEFT_OUT)
    again = _Again(text, cell.space, Key("arena", number))
    try:
        made = again(arrivals)
        if text != cell.defence:
            keeper: Any = _Keeper(arena)
            keeper.told["merged"] = keeper.value(made.update)
            policy = POLICIES["quarantine"]
            made = policy(keeper, arrivals, made, cast("Any", again))
    except BoundsError:
        return {}
    return made.update


@dataclass(frozen=True, slots=True)
class _Again:
    """Merges some arrivals, as the gate asks for it."""

    text: str
    space: str
    key: Key

    def __call__(self, found: Sequence[Arrival], text: str = "") -> Merged:
        given = recipe(text or self.text), self.space, found
        return merge_round(*given, key=self.key, rank_down=RANK)

    def without(self, found: Sequence[Arrival]) -> Callable[[str], Merged]:
        given = recipe(self.text), self.space, found
        return omitted(*given, key=self.key, rank_down=RANK)


@dataclass(slots=True)
class _Keeper:
    """Judges merges by the loss on the public set, as the gate does it."""

    arena: Arena
    gate: Gate = field(default_factory=lambda: Gate(policy="quarantine", source=PROBE))
    told: dict[str, Any] = field(default_factory=dict)

    def value(self, update: Mapping[str, Floats]) -> float:
        with trial(self.arena.base, update):
            return self.arena.loss()

    def above(self, one: float, other: float) -> float:
        return other - one

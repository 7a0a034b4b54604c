"""What merges a round's replies, all of them or some."""

from collections.abc import Callable, Sequence
from typing import Any

from ..aggregators.base import Key
from ..aggregators.recipes import recipe
from ..aggregators.spaces import Arrival, Merged, merge_round
from . import placements
from .arrivals import Arrivals
from .regions.climbs import climb
from .sessions import Session

Merger = Callable[[Sequence[Arrival], str], Merged]
"""Merges replies by a recipe's text; by the run's own where it is empty."""


def merger(session: Session, arrivals: Arrivals, grid: Any) -> Merger:
    """What merges replies of a round.

    Args:
        session: the run.
        arrivals: the round's replies.
        grid: reaches the regions that keep some of them.
    """
    config, number = session.config, arrivals.number
    done = next((rules.applied for rules in arrivals.rules.values()), ())

    def merged(found: Sequence[Arrival], text: str) -> Merged:
        chosen = placements.left(recipe(text or config.merge.recipe), done)
        if arrivals.behind():
            return climb(session, arrivals, grid, list(found), chosen)
        return merge_round(
            chosen,
            config.lora.space,
            found,
            key=Key(session.run, number),
            rank_down=config.lora.rank_down or 4 * config.highest_rank,
            carry=session.states.get("carry", {}),
            regions=config.merge.tree == "regions",
        )

    return merged

"""What merges a round's replies, all of them or some."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..aggregators.base import Key, Recipe
from ..aggregators.recipes import recipe
from ..aggregators.spaces import Arrival, Merged, merge_round, omitted
from . import placements
from .arrivals import Arrivals
from .regions.climbs import climb
from .sessions import Session


@dataclass(frozen=True, slots=True)
class Merger:
    """Merges replies of a round.

    Attributes:
        session: the run.
        arrivals: the round's replies.
        grid: reaches the regions that keep some of them.
    """

    session: Session
    arrivals: Arrivals
    grid: Any = None

    def __call__(self, found: Sequence[Arrival], text: str = "") -> Merged:
        """Merge by a recipe's text; by the run's own where it is empty."""
        session, chosen = self.session, self._recipe(text)
        if self.arrivals.behind():
            return climb(session, self.arrivals, self.grid, list(found), chosen)
        return merge_round(
            chosen,
            session.config.lora.space,
            found,
            key=Key(session.run, self.arrivals.number),
            regions=session.config.merge.tree == "regions",
            **self._rest(),
        )

    def without(self, found: Sequence[Arrival]) -> Callable[[str], Merged]:
        """From a client's name to the merge of all replies but its own."""
        return omitted(
            self._recipe(""),
            self.session.config.lora.space,
            found,
            key=Key(self.session.run, self.arrivals.number),
            **self._rest(),
        )

    def _recipe(self, text: str) -> Recipe:
        done = next((rules.applied for rules in self.arrivals.rules.values()), ())
        return placements.left(recipe(text or self.session.config.merge.recipe), done)

    def _rest(self) -> Mapping[str, Any]:
        config = self.session.config
        return {
            "rank_down": config.lora.rank_down or 4 * config.highest_rank,
            "carry": self.session.states.get("carry", {}),
        }

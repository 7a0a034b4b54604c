"""Several rounds of one cohort, recipe by recipe, from one first training.

In the first round clients train from the base whatever merges their replies, so that
round is trained once for all recipes and formats; from the second each has its own.
What a format takes away is carried into the next reply, as clients of a run do.
"""

from dataclasses import dataclass, field

from torch.nn.attention import SDPBackend, sdpa_kernel

from fedelta.aggregators.furthers import is_further
from fedelta.aggregators.products import tensor
from fedelta.aggregators.spaces import Arrival
from fedelta.benchmarks.trainings import Change, Cohort
from fedelta.client.stores import carried
from fedelta.server.variants import Variant

FISHER = "fisher() @ factors"


@dataclass(slots=True)
class Sequel:
    """A cohort that goes back to its first round for every recipe.

    Attributes:
        cohort: its clients; its run's rounds say how many.
        first: what they changed in the first round, by client.
    """

    cohort: Cohort
    first: dict[str, Change] = field(default_factory=dict)

    def told(self, text: str, wire: str) -> list[dict[str, float]]:
        """What the test set says after each round of one recipe and format."""
        cohort, chosen = self.cohort, Variant.read(text, "product")
        owed: dict[str, Change] = {}
        further, found = text == FISHER, []
        cohort.base.reset()
        for number in range(1, cohort.config.run.rounds + 1):
            self._train(number, further=further)
            cohort.changes = {
                name: carried(dict(change), dict(owed.get(name, {})))
                for name, change in cohort.changes.items()
            }
            given = cohort.arrivals(wire, further=further)
            owed = {one.name: self._owed(one) for one in given}
            cohort.base.fold(cohort.merged(given, chosen.recipe, chosen.space))
            found.append(cohort.judged({}))
        return found

    def _train(self, number: int, *, further: bool) -> None:
        """Attention written out: its way back in bfloat16 takes half the time here."""
        with sdpa_kernel(SDPBackend.MATH):
            if number > 1 or further:
                self.cohort.train(number, further=further)
                return
            if not self.first:
                self.cohort.train(number)
                self.first = self.cohort.changes
        self.cohort.round, self.cohort.changes = number, self.first

    def _owed(self, arrival: Arrival) -> Change:
        """What a client wanted to send and the server did not read."""
        wanted = self.cohort.changes[arrival.name]
        sent = arrival.contribution
        return {n: wanted[n] - tensor(sent, n) for n in wanted if not is_further(n)}

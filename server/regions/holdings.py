"""What a region holds of its own clients' replies: judged, sealed, summed.

The same admission and the same journal as the root's, so a region that was killed goes
on with what it has sealed, and sums the same integers.
"""

import mmap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from flwr.app import Message

from ...aggregators import branches
from ...aggregators.base import Key, Recipe
from ...aggregators.base import Member as Part
from ...aggregators.branches import Branch
from ...aggregators.recipes import recipe
from ...aggregators.scales import Numbers, Survey
from ...protocols import digests
from ...protocols.budgets import uplink
from ...protocols.codec import Context
from ...protocols.errors import CheckpointError
from ...protocols.plans import RoundPlan
from ...protocols.refusals import Refusal
from ...protocols.settings import Config
from .. import files, placements, signings
from ..admission import Admitted, Rules, admit, judge
from ..engine import Receipt
from ..journal import Journal, Sealed
from ..rosters import Member

if TYPE_CHECKING:
    from ...client.models import Base

MEMBERS = "members.json"


class Holdings:
    """The sealed replies of a region's own clients.

    Args:
        config: the run's settings.
        journal: the region's folder of the run.
        run: the run's id.
    """

    def __init__(self, config: Config, journal: Journal, run: str) -> None:
        self._config = config
        self._journal = journal
        self._run = run
        self._base: Base | None = None
        path = journal.folder / MEMBERS
        self.examples: dict[str, int] = files.read_json(path) if path.exists() else {}
        self._clients = {one.name: one for one in config.clients}

    @property
    def recipe(self) -> Recipe:
        """The run's recipe, without what its clients have applied."""
        chosen = recipe(self._config.merge.recipe)
        return placements.left(chosen, placements.applied(self._config))

    def enrol(self, found: Mapping[str, int]) -> None:
        """Remember how many examples clients have said that they have."""
        self.examples |= found
        files.write_json(self._journal.folder / MEMBERS, self.examples)

    def member(self, client: str) -> Member:
        """A client as the root's roster has it."""
        given = self._clients[client]
        examples = self.examples.get(client, 0)
        return Member(client, 0, examples, given.examples_cap, given.region)

    def rules(self, client: str, number: int, base: str) -> Rules:
        """What a client's reply in a round is held to."""
        from ...client.models import run_key

        config, model = self._config, self._model()
        own = config.of(client)
        context = Context(
            layout=model.layout(own),
            run=self._run,
            round=number,
            base=base,
            wire=uplink(config, client),
            recipe=config.merge.recipe,
            seed=config.run.seed,
        )
        start = model.start(own, run_key(config), number)
        applied = placements.applied(config)
        return Rules(context, model.pairs(own), start, config.round.norm_cap, applied)

    def sealed(self, number: int) -> dict[str, Sealed]:
        """The accepted replies of a round."""
        return self._journal.sealed(number)

    def take(
        self, plan: RoundPlan, reply: Message, cost: Receipt
    ) -> dict[str, Any] | Refusal:
        """Judge a reply and seal it; what may be said of it, or why it is refused."""
        member = self.member(plan.client)
        rules = self.rules(plan.client, plan.round, plan.base)
        found = admit(reply, member, rules)
        if isinstance(found, Refusal):
            return found
        given = reply.content, plan.run, plan.client, found.data
        signed = signings.signed(*given, self._journal.folder)
        if isinstance(signed, Refusal):
            return signed
        note = _note(found, cost, plan.base) | signed
        self._journal.seal(plan.round, plan.client, found.data, note)
        return note

    def share(self, client: str, note: Mapping[str, Any]) -> int:
        """What a client's sealed reply counts for."""
        if self._config.merge.weights == "uniform":
            return 1
        return min(int(note["weight"]), self.member(client).weight)

    def survey(self, number: int, clients: Sequence[str]) -> Survey | None:
        """What some clients' sealed replies come to at first sight; None: of nobody."""
        with self._ready(number, clients) as (_, survey):
            return survey

    def summed(
        self, number: int, clients: Sequence[str], numbers: Numbers
    ) -> Branch | None:
        """What some clients' sealed replies come to; None: there are none."""
        with self._ready(number, clients) as (ready, _):
            if not ready:
                return None
            chosen = self.recipe
            branch = branches.summed(chosen, ready, numbers)
            if chosen.outer is None:
                return branch
            groups = sorted({one.group for one in ready})
            return branches.closed(branch, chosen, Key(self._run, number), groups)

    @contextmanager
    def _ready(
        self, number: int, clients: Sequence[str]
    ) -> Iterator[tuple[list[Part], Survey | None]]:
        """Clients' replies in the space of the merge, as far as they are sealed."""
        there = self.sealed(number)
        with ExitStack() as stack:
            parts = [
                self._part(number, name, there[name], stack)
                for name in sorted(set(clients) & there.keys())
            ]
            key = Key(self._run, number)
            yield branches.prepare(self.recipe, parts, key) if parts else ([], None)

    def _part(self, number: int, name: str, held: Sealed, stack: ExitStack) -> Part:
        file = stack.enter_context(held.path.open("rb"))
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        member = self.member(name)
        payload = judge(data, member, self.rules(name, number, held.note["base"]))
        if isinstance(payload, Refusal):
            raise CheckpointError(f"{held.path}: {payload}")
        return Part(name, payload, self.share(name, held.note), member.region)

    def _model(self) -> "Base":
        if self._base is None:
            from ...client.data import load
            from ...client.models import load_base

            self._base = load_base(self._config, load(self._config).labels)
        return self._base


def _note(found: Admitted, cost: Receipt, base: str) -> dict[str, Any]:
    return {
        "bytes": cost.up,
        "down": cost.down,
        "payload": len(found.data),
        "norm": found.norm,
        "weight": found.payload.header.weight,
        "seconds": round(cost.seconds, 3),
        "digest": digests.of_bytes(found.data),
        "loss": found.metrics.get("loss"),
        "base": base,
    }

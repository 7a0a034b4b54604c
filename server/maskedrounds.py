"""Rounds in which the server sees sums alone, as a strategy that Flower drives."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid

from ..aggregators import agreements, portions
from ..aggregators.base import Key
from ..aggregators.products import tensor
from ..aggregators.reductions import Flat, finished
from ..aggregators.spaces import Merged, of_tensors
from ..protocols.aborts import AbortError
from ..protocols.errors import QuorumError
from ..protocols.vectors import Layout, TaskVector
from . import outcomes, releases, rosters
from .arrivals import Arrivals
from .engine import Receipt
from .journal import Sealed
from .maskings import Masking
from .outcomes import Outcome
from .rounds import RoundStrategy
from .sessions import Session


class MaskedStrategy(RoundStrategy):
    """Rounds whose contributions are added under masks.

    Args:
        session: the run; rounds go on after its last committed one.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._masking: Masking | None = None

    def configure_train(
        self,
        server_round: int,
        arrays: ArrayRecord,  # noqa: ARG002
        config: ConfigRecord,  # noqa: ARG002
        grid: Grid,
    ) -> Iterable[Message]:
        """Exchange keys and shares, then ask for masked inputs.

        Raises:
            AbortError: too few are left.
        """
        session, number = self._session, self._first + server_round
        asked = session.roster.sample(session.config, session.run, number)
        self._begin(grid, number, asked)
        self._arrivals = Arrivals(number, asked, {}, session.journal, session.record)
        if outcomes.kept(session, number) is not None:
            return []
        self._masking = Masking(session, number, asked, grid)
        size = session.layout(asked[0].name).size
        told = agreements.told(session.config, len(asked), size)
        session.record.add("masks", round=number, **told)
        try:
            messages = self._masking.begin()
        except AbortError:
            self._refused(self._arrivals, None)
            raise
        self._seconds["keys"] = self._lap()
        return messages

    def aggregate_train(
        self,
        server_round: int,  # noqa: ARG002  the round that was asked for
        replies: Iterable[Message],
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Open the sum, read the merge off it, and release the next version.

        Raises:
            AbortError: by name, why nothing was opened.
            QuorumError: fewer survived than round.quorum asks for.
            RoundError: what was merged cannot be used.
        """
        arrivals, _ = self._open()
        outcome = outcomes.kept(self._session, arrivals.number)
        if outcome is None and self._masking is not None:
            try:
                outcome = self._masking.finish(replies)
            finally:
                self._refused(arrivals, outcome)
        if outcome is None:
            raise QuorumError(f"round {arrivals.number}: nothing was asked for")
        self._seconds["clients"] = self._lap()
        self._accepted(arrivals, outcome)
        self._settle(arrivals)
        needed = rosters.quorum(self._session.config, len(arrivals.asked))
        if len(arrivals.accepted) < needed:
            raise QuorumError(
                f"round {arrivals.number}: {len(arrivals.accepted)} are in the sum, "
                f"{needed} are needed"
            )
        merged = update(self._session, outcome)
        self._take(releases.of_merged(self._session, merged, arrivals), arrivals)
        self._seconds["merge"] = self._lap()
        return None, None

    def _refused(self, arrivals: Arrivals, outcome: Outcome | None) -> None:
        """Tell of everyone who is not in the sum, and of what it cost."""
        masking = self._masking
        if masking is None:
            return
        inside = set(outcome.survivors) if outcome is not None else set()
        for name, refusal in sorted(masking.exchange.out.items()):
            if name not in inside:
                arrivals.refuse(name, refusal, masking.exchange.costs[name])

    def _accepted(self, arrivals: Arrivals, outcome: Outcome) -> None:
        masking = self._masking
        costs = masking.exchange.costs if masking is not None else {}
        for name in outcome.survivors:
            note = _note(outcome, name, costs.get(name, Receipt(0)))
            arrivals.take(Sealed(name, Path(), note))


def update(session: Session, outcome: Outcome) -> Merged:
    """What the opened sums are read as."""
    terms, state = outcome.terms, portions.state(outcome.terms)
    layout: Layout = session.layout(outcome.survivors[0])
    whole = np.zeros(layout.size, np.float32)
    total = terms.held(outcome.survivors)
    whole[outcome.places] = state.finish(outcome.planes, total)
    merged = finished(state.recipe, Flat(layout, whole), Key(terms.run, terms.round))
    name = outcome.survivors[0]
    pairs, start = session.pairs(name), session.start(name, terms.round)
    if terms.clip:
        given = {one: tensor(merged, one) for one in layout.names}
        merged = TaskVector.of(portions.factors(given, pairs, start))
        pairs = tuple(replace(one, scaling=1.0) for one in pairs)
    found = of_tensors(merged, pairs, start)
    return Merged(found.update, found.carry, found.report | outcome.report)


def _note(outcome: Outcome, name: str, cost: Receipt) -> dict[str, Any]:
    """What may be said of a contribution that nobody saw."""
    return outcome.signed(name) | {
        "bytes": cost.up,
        "down": cost.down,
        "payload": 0,
        "wire": "masked",
        "formats": {},
        "norm": None,
        "weight": outcome.terms.share(name),
        "seconds": round(cost.seconds, 3),
        "digest": outcome.digest(name),
        "loss": None,
        "metrics": {},
    }

"""The server's side of a round, as a strategy that Flower drives.

`configure_train` asks, `aggregate_train` takes replies and releases the next
version, `configure_evaluate` and `aggregate_evaluate` judge it and commit the round.
"""

import time
from collections.abc import Iterable, Mapping

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from ..protocols.budgets import uplink
from ..protocols.errors import QuorumError, RoundError
from ..protocols.messages import plan_content
from ..protocols.plans import RoundPlan
from . import evaluation, flights, placements, protections
from .arrivals import Arrivals
from .catchups import catch_up
from .inspection import formats
from .regions import tolls
from .releases import Release, release, rules_for
from .rosters import Member
from .sessions import Session
from .traffic import Watch


class RoundStrategy(Strategy):
    """Rounds of our own runs, whose aggregation is a merge.

    (For plain array records of other apps: `fedelta.server.MergeStrategy`.)

    The global model lives in the session, not in Flower's array records: what goes
    down are updates that each client lacks.

    Args:
        session: the run; rounds go on after its last committed one.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._first = session.round
        self._arrivals: Arrivals | None = None
        self._grid: Grid | None = None
        self._judging: list[Message] = []
        self._seconds: dict[str, float] = {}
        self._report: Mapping[str, float] = {}
        self._began = 0.0
        self._call = flights.Call([])

    def configure_train(
        self,
        server_round: int,
        arrays: ArrayRecord,  # noqa: ARG002
        config: ConfigRecord,  # noqa: ARG002
        grid: Grid,
    ) -> Iterable[Message]:
        """One plan for each client that is asked and has not answered yet."""
        session, number = self._session, self._first + server_round
        flights.prepare(grid, session.config)
        self._call = called = flights.call(session, grid, number)
        asked = called.members
        self._begin(grid, number, asked)
        since = called.since | session.journal.since(number)  # sealed before a restart
        self._arrivals = Arrivals(
            number,
            asked,
            rules_for(session, asked, number, since),
            session.journal,
            session.record,
            heads=tolls.heads(grid),
            since=since,
        )
        return self._ask(self._arrivals)

    def aggregate_train(
        self,
        server_round: int,  # noqa: ARG002  the round that was asked for
        replies: Iterable[Message],
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Take replies as they come, merge, and release the next version.

        Raises:
            QuorumError: too few replies were good, also after all retries.
            RoundError: what was merged cannot be used.
        """
        arrivals, grid = self._open()
        config = self._session.config
        called = self._call
        needed = protections.quorum(config, called.expected)
        arrivals.receive(replies, grid, called.enough, patient=called.patient)
        for _ in range(config.round.retries):
            if len(arrivals.accepted) >= needed:
                break
            again = grid.send_and_receive(
                self._ask(arrivals), timeout=config.round.deadline_seconds
            )
            arrivals.receive(again, grid, called.enough, patient=called.patient)
        self._seconds["clients"] = self._lap()
        flights.keep(self._session, grid, arrivals)
        self._settle(arrivals)
        if len(arrivals.accepted) < needed:
            raise QuorumError(_too_few(arrivals, needed))
        made = release(self._session, arrivals, grid)
        if len(arrivals.accepted) < needed:  # a region went while states were added
            raise QuorumError(_too_few(arrivals, needed))
        tolls.tell(self._session, grid, arrivals.number)
        self._take(made, arrivals)
        self._seconds["merge"] = self._lap()
        return None, None

    def configure_evaluate(
        self,
        server_round: int,
        arrays: ArrayRecord,  # noqa: ARG002
        config: ConfigRecord,  # noqa: ARG002
        grid: Grid,  # noqa: ARG002
    ) -> Iterable[Message]:
        """A plan to each client where clients judge the new version."""
        session, number = self._session, self._first + server_round
        self._judging = judges(session, number)
        return self._judging

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Judge the new version, record the round, commit it."""
        session, number = self._session, self._first + server_round
        arrivals, grid = self._open()
        nodes = {one.node: one.name for one in session.roster}
        watch = Watch(grid, self._judging)
        found = {"clients": evaluation.of_clients(session, watch.over(replies), nodes)}
        watch.tell(session, number, "evaluate", nodes)
        found["server"], _ = evaluation.timed_on_server(session, number)
        self._seconds["evaluation"] = self._lap()
        self._tell(arrivals)
        evaluation.tell(session, number, found)
        session.commit(
            number,
            accepted={
                name: arrivals.accepted[name].note["digest"]
                for name in sorted(arrivals.accepted)
            },
            refused=dict(arrivals.refused),
        )
        self._arrivals = None
        return None

    def summary(self) -> None:
        """Say nothing: the run's record does."""

    def _begin(self, grid: Grid, number: int, asked: Iterable[Member]) -> None:
        """Start the round's clock, and tell whom it asks."""
        self._grid, self._began, self._seconds = grid, time.monotonic(), {}
        names = [one.name for one in asked]
        self._session.record.tell({"kind": "asked", "round": number, "clients": names})

    def _open(self) -> tuple[Arrivals, Grid]:
        if self._arrivals is None or self._grid is None:
            raise RoundError("no round was asked for")
        return self._arrivals, self._grid

    def _lap(self) -> float:
        now = time.monotonic()
        lap, self._began = now - self._began, now
        return round(lap, 3)

    def _ask(self, arrivals: Arrivals) -> list[Message]:
        session = self._session
        flying = session.flights
        return arrivals.expect(
            (
                (
                    message_to(session, one, _since(arrivals, one), MessageType.TRAIN),
                    one,
                )
                for one in arrivals.missing
                if one.name not in flying
            ),
            {name: one.message for name, one in flying.items()},
        )

    def _settle(self, arrivals: Arrivals) -> None:
        """Note who holds what: nothing is taken for granted after a failure."""
        for name, member in arrivals.asked.items():
            since = _since(arrivals, member)
            good = name in arrivals.accepted
            if name not in self._session.flights:
                member.held = since - 1 if good else 0
            member.accepted = since if good else member.accepted

    def _take(self, made: Release, arrivals: Arrivals) -> None:
        session, number = self._session, arrivals.number
        session.journal.write_update(number, made.update.data)
        session.model.add(made.update)
        session.states = made.states
        self._report = made.report
        if made.diagnostics:
            session.record.add("diagnostics", round=number, **made.diagnostics)
        if made.gate:
            session.record.add("gate", round=number, **made.gate)

    def _tell(self, arrivals: Arrivals) -> None:
        session = self._session
        dense = 4 * sum(session.layout(name).size for name in arrivals.accepted)
        totals = session.totals
        totals.up += arrivals.up
        totals.down += arrivals.down
        totals.up_dense_fp32 += dense
        totals.refused.update(arrivals.refused)
        for phase, seconds in self._seconds.items():
            totals.spend(phase, seconds)
        session.record.add(
            "round",
            round=arrivals.number,
            asked=len(arrivals.asked),
            accepted=len(arrivals.accepted),
            refused=dict(arrivals.refused),
            up=arrivals.up,
            down=arrivals.down,
            up_dense_fp32=dense,
            phases=self._seconds,
            merge=dict(self._report),
        )
        newest = session.model.updates[-1]
        session.record.add(
            "release",
            round=arrivals.number,
            base=session.model.base,
            update=newest.digest,
            bytes=len(newest.data),
            formats=formats(newest.data),
            digest=session.model.digest,
        )


def _since(arrivals: Arrivals, member: Member) -> int:
    return arrivals.since.get(member.name, arrivals.number)


def message_to(session: Session, member: Member, number: int, kind: str) -> Message:
    """One plan to one client, with the updates that it lacks.

    Args:
        session: the run.
        member: whom.
        number: the round; training is for the version that was the newest when it
            began.
        kind: of message.
    """
    config, model = session.config, session.model
    version = (
        min(number - 1, model.number) if kind == MessageType.TRAIN else model.number
    )
    lacks = catch_up(session, member.held, version)
    plan = RoundPlan(
        run=session.run,
        round=number,
        client=member.name,
        base=model.base_at(version),
        layout=session.layout(member.name).fingerprint,
        version=version,
        updates=lacks.updates,
        recipe=config.merge.recipe,
        space=config.lora.space,
        wire=uplink(config, member.name),
        feedback=config.wire.feedback,
        before=placements.before(config),
        accepted=member.accepted,
        snapshot=lacks.snapshot,
    )
    content = plan_content(plan, lacks.blobs)
    return Message(content, member.node, kind, group_id=str(number))


def judges(session: Session, number: int) -> list[Message]:
    """Plans for the clients to judge the newest version, where they are to."""
    if not evaluation.due(session, number, "clients"):
        return []
    return [
        message_to(session, member, number, MessageType.EVALUATE)
        for member in session.roster
    ]


def _too_few(arrivals: Arrivals, needed: int) -> str:
    reasons = ", ".join(f"{name} {n}" for name, n in sorted(arrivals.refused.items()))
    return (
        f"round {arrivals.number}: {len(arrivals.accepted)} of {len(arrivals.asked)} "
        f"replies were good, {needed} are needed ({reasons or 'none came'})"
    )

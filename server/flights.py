"""Whom a round counts on: those it asks now, and those who are still at an earlier one.

Over a network, a reply that was not there when its round ended may be waited for (see
`fedelta.server.paces`). Who is waited for is not asked again. A server that was killed
waits for nobody: it asks anew.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flwr.app import Message
from flwr.serverapp import Grid

from ..protocols.settings import Config
from . import paces, protections
from .rosters import Member

if TYPE_CHECKING:
    from .arrivals import Arrivals
    from .sessions import Session


@dataclass(frozen=True, slots=True)
class Flight:
    """A question that is not answered yet.

    Attributes:
        message: as it was sent.
        since: the round that it was sent in.
    """

    message: Message
    since: int


@dataclass(frozen=True, slots=True)
class Call:
    """Whom a round counts on.

    Attributes:
        members: all of them, in name order.
        since: by client, the round that it was asked in, where that is an earlier one.
        enough: so many accepted replies end the round; 0: it waits for all it asks.
        expected: the replies that the quorum is a share of.
        patient: silence is no refusal.
    """

    members: list[Member]
    since: dict[str, int] = field(default_factory=dict)
    enough: int = 0
    expected: int = 0
    patient: bool = False


def waits(grid: Grid) -> bool:
    """Whether a grid can wait for replies beyond their round."""
    return hasattr(grid, "keeps")


def call(session: "Session", grid: Grid, number: int) -> Call:
    """Whom a round counts on."""
    config = session.config
    everyone = list(session.roster)
    if config.round.mode == paces.ASYNC and not waits(grid):
        names = [one.name for one in everyone]
        turned = paces.turns(config, names, number)
        since = {one.client: one.since for one in turned}
        members = paces.members(everyone, turned)
        return Call(members, since, 0, len(members))
    flying = {name: one.since for name, one in session.flights.items()}
    enough = paces.enough(config, len(everyone))
    if config.round.mode == paces.ASYNC:
        return Call(everyone, flying, enough, enough, patient=True)
    asked = {one.name for one in protections.asked(session, number)}
    members = [one for one in everyone if one.name in asked | flying.keys()]
    return Call(members, flying, enough, enough or len(asked))


def prepare(grid: Any, config: Config) -> None:
    """Have a grid keep what comes too late, where it is to."""
    if waits(grid):
        patient = config.round.mode == paces.ASYNC
        grid.keeps = patient or config.round.late == paces.KEEP
        grid.patient, grid.late = patient, True


def keep(session: "Session", grid: Any, arrivals: "Arrivals") -> None:
    """Remember who is still at it when a round ends."""
    session.flights.clear()
    if waits(grid):
        grid.late = False
    if waits(grid) and grid.keeps:
        for name, message in arrivals.unanswered.items():
            if message.metadata.message_id not in grid.awaited:
                continue
            since = arrivals.since.get(name, arrivals.number)
            session.flights[name] = Flight(message, since)

"""A merge judged by the clients, each on its own machine, on data that stays there.

They get the merge as they would get a release, judge it as they judge one, and forget
it with the next plan. Only whole merges are put to them: a merge without one client,
held against the merge of all, would tell them what that client sent.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...protocols import digests
from ...protocols.errors import QuorumError
from ...protocols.vectors import Floats
from .. import evaluation
from ..traffic import Watch
from ..versions import Update, Versions

if TYPE_CHECKING:
    from ..sessions import Session

KIND = "gate"
"""What the record calls these messages' traffic."""


def judged(
    session: "Session", update: Mapping[str, Floats] | None, number: int, grid: Any
) -> dict[str, float]:
    """What all clients together find of the last model with an update folded in.

    Args:
        session: the run, at the last model.
        update: as `fedelta.aggregators.spaces.merge_round` gives it; None: none.
        number: the round.
        grid: reaches the clients.

    Raises:
        QuorumError: nobody answered.
        RoundError: the update cannot be sent.
    """
    from flwr.app import MessageType

    from ..releases import pack
    from ..rounds import message_to

    trying = session
    if update:
        model = tried(session.model, pack(session, dict(update), number))
        trying = replace(session, model=model)
    asked = [
        message_to(trying, member, number, MessageType.EVALUATE)
        for member in session.roster
    ]
    nodes = {member.node: member.name for member in session.roster}
    watch = Watch(grid, asked)
    wait = session.config.round.deadline_seconds
    replies = watch.over(grid.send_and_receive(asked, timeout=wait))
    found = evaluation.of_clients(trying, replies, nodes)
    watch.tell(session, number, KIND, nodes)
    for member in session.roster:  # what was tried is no version that counts
        member.held = min(member.held, session.model.number)
    if not found:
        raise QuorumError(f"round {number}: no client judged what the gate tried")
    return found


def tried(model: Versions, update: Update) -> Versions:
    """Versions with one more that nothing was folded for."""
    found = copy.copy(model)
    found.updates = [*model.updates, update]
    found._names = [*model._names, digests.chain(model.base, update.digest)]  # noqa: SLF001
    return found

"""From sealed replies to the next version of the global model.

Everybody, the server too, folds the update as it was decoded from the bytes that
travel. What the merge and the way down cut off is carried into the next round.
"""

import mmap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ..aggregators import compare
from ..aggregators.products import Read
from ..aggregators.spaces import Arrival, Merged
from ..protocols import digests, seeds
from ..protocols.budgets import downlink, downlink_budget, uplink, written
from ..protocols.codec import Context, Header, Payload, decode
from ..protocols.errors import BoundsError, CheckpointError, RoundError
from ..protocols.refusals import Refusal
from ..protocols.vectors import Floats, TaskVector
from . import debts, paces, placements, protections
from .admission import Rules, judge
from .arrivals import Arrivals
from .evidence import gates
from .mergers import Merger
from .rosters import Member
from .sessions import Session
from .versions import Update

Tensors = Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Release:
    """A merged update, ready to be folded.

    Attributes:
        update: as it travels.
        states: what the next merge needs, by kind.
        report: numbers for the record (rank, truncation...).
        diagnostics: how the clients' updates lie to each other.
        gate: what the gate found and did; nothing where there is none.
    """

    update: Update
    states: debts.States
    report: Mapping[str, float]
    diagnostics: Mapping[str, Any]
    gate: Mapping[str, Any] | None = None


def _rules(session: Session, client: str, number: int) -> Rules:
    """What a client's reply in a round is held to."""
    config = session.config
    context = Context(
        layout=session.layout(client),
        run=session.run,
        round=number,
        base=session.model.base_at(number - 1),
        wire=uplink(config, client),
        recipe=config.merge.recipe,
        seed=config.run.seed,
    )
    pairs, start = session.pairs(client), session.start(client, number)
    applied = placements.applied(config)
    return Rules(context, pairs, start, config.round.norm_cap, applied)


def rules_for(
    session: Session, asked: Iterable[Member], number: int, since: Mapping[str, int]
) -> dict[str, Rules]:
    """What the replies of a round are held to, by client.

    Args:
        session: the run.
        asked: whose replies.
        number: the round.
        since: by client, the round that it was asked in, where that is an earlier one.
    """
    names = [one.name for one in asked]
    return {name: _rules(session, name, since.get(name, number)) for name in names}


def release(session: Session, arrivals: Arrivals, grid: Any = None) -> Release:
    """Merge a round's sealed replies; nothing of the session is changed.

    Args:
        session: the run.
        arrivals: the round's replies.
        grid: reaches the regions that keep some of them; None: none does.

    Raises:
        RoundError: the merged update is not one that could be folded.
    """
    with opened(session, arrivals) as found:
        hidden = protections.guarded(session, found, arrivals)
        told = compare.compare(found) if found and not hidden else {}
        merge, gate = Merger(session, arrivals, grid), dict[str, Any]()
        if hidden:
            merged = hidden.merged
        elif told and gates.active(session, arrivals):
            merged, gate = gates.passed(session, found, merge, arrivals.number, grid)
        else:
            merged = merge(found, "")
    made = of_merged(session, merged, arrivals)
    states = made.states | gates.memory(session, gate, arrivals.number)
    if hidden:
        states[protections.STATE] = hidden.state
    return replace(made, states=states, diagnostics=told, gate=gate)


def of_merged(session: Session, merged: Merged, arrivals: Arrivals) -> Release:
    """A release of what was merged, here or elsewhere from sums that were opened.

    Raises:
        RoundError: the merged update is not one that could be folded.
    """
    wanted, states = debts.stepped(session, merged, _present(session, arrivals))
    update = pack(session, wanted, arrivals.number)
    debts.owed(session, states, wanted, update.tensors)
    return Release(update, states, merged.report, {})


def read_update(session: Session, version: int, digest: str) -> Update:
    """An update of the session's run from disk: the one after its newest version.

    Raises:
        CheckpointError: it is not there, or is another one.
    """
    data = session.journal.read_update(version, digest)
    found = decode(data, _context(session, version))
    if isinstance(found, Refusal):
        raise CheckpointError(f"update {version} of {session.journal.folder}: {found}")
    return Update(digest, data, Read(found))


def pack(session: Session, update: Tensors, number: int) -> Update:
    """An update as it travels.

    Raises:
        RoundError: it is not finite, or not what clients expect.
    """
    context = _context(session, number)
    layout = context.layout
    header = Header(
        run=session.run,
        round=number,
        client="",
        base=session.model.base,
        layout=layout.fingerprint,
        recipe=session.config.merge.recipe,
        seed=seeds.key("down", session.run, number),
    )
    vector = TaskVector.of(update)
    if vector.layout != layout:
        raise RoundError(
            f"round {number}: the merge gave other tensors than clients take"
        )
    try:
        most = downlink_budget(session.config)
        data = written(vector, downlink(session.config), header, most)
    except BoundsError as error:
        raise RoundError(
            f"round {number}: the merged update is unusable ({error})"
        ) from error
    found = decode(data, context)
    if isinstance(found, Refusal):
        raise RoundError(f"round {number}: the merged update is unusable ({found})")
    return Update(digests.of_bytes(data), data, Read(found))


def _context(session: Session, number: int) -> Context:
    return Context(
        layout=session.base.update_layout(),
        run=session.run,
        round=number,
        base=session.model.base,
        wire=downlink(session.config),
    )


@contextmanager
def opened(session: Session, arrivals: Arrivals) -> Iterator[list[Arrival]]:
    """The sealed replies, mapped, each validated once more as it is opened."""
    with ExitStack() as stack:
        found: list[Arrival] = []
        for name in sorted(arrivals.accepted):
            if "region" in arrivals.accepted[name].note:
                continue
            file = stack.enter_context(arrivals.accepted[name].path.open("rb"))
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            member = arrivals.asked[name]
            rules = arrivals.rules[name]
            payload = judge(data, member, rules)
            if isinstance(payload, Refusal):
                path = arrivals.accepted[name].path
                raise CheckpointError(f"{path}: {payload}")
            found.append(_arrival(session, member, payload, rules))
        shares = {one.name: one.share for one in found}
        counted = paces.weighed(shares, arrivals.stale)
        yield [replace(one, share=counted[one.name]) for one in found]


def _arrival(
    session: Session, member: Member, payload: Payload, rules: Rules
) -> Arrival:
    uniform = session.config.merge.weights == "uniform"
    share = 1 if uniform else min(payload.header.weight, member.weight)
    return Arrival(
        member.name, payload, share, member.region, tuple(rules.pairs), rules.start
    )


def _present(session: Session, arrivals: Arrivals) -> float:
    """The share of all clients' weights that a round's accepted replies have."""
    uniform = session.config.merge.weights == "uniform"
    held = {one.name: 1 if uniform else one.weight for one in session.roster}
    return sum(held[name] for name in arrivals.accepted) / max(sum(held.values()), 1)

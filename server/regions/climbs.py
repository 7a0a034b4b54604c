"""The root's second question: the state of all replies that stay in the regions.

Vouchers say who is in; from them and the surveys come the numbers that all share; with
these every region adds its replies up. A region that is gone by then drops out with its
clients, and the others add up again without it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...aggregators import branches, kernels
from ...aggregators.base import Key, Member, Recipe
from ...aggregators.branches import Branch
from ...aggregators.replies import Arrival, Merged
from ...aggregators.scales import FRACTION, Numbers, Survey, agreed, exponents
from ...aggregators.spaces import of_tensors
from ...protocols import digests
from ...protocols.bundles import Answer
from ...protocols.errors import PayloadError, QuorumError
from ...protocols.refusals import Reason, Refusal
from .parcels import surveyed, unpacked

if TYPE_CHECKING:
    from ..arrivals import Arrivals
    from ..sessions import Session
    from .trees import TreeGrid

TRIES = 8


def vouched(
    said: Mapping[str, Any], most: int, norm_cap: float
) -> dict[str, Any] | Refusal:
    """A voucher as a seal's note, or why it is refused.

    Args:
        said: by the region.
        most: the examples that the client has declared.
        norm_cap: the largest norm; 0: any.

    Example:
        >>> vouched({"digest": "0" * 64, "weight": 9, "norm": 1.0}, 8, 0.0).reason
        <Reason.BAD_WEIGHT: 'BAD_WEIGHT'>
    """
    if said.get("refused"):
        try:
            return Refusal(Reason(str(said.get("reason"))), str(said.get("detail")))
        except ValueError:
            return Refusal(Reason.BAD_OBJECT, "refused for no reason that is known")
    try:
        weight, norm, digest = said["weight"], float(said["norm"]), str(said["digest"])
        below, loss = int(said.get("bytes", 0)), said.get("loss")
    except (KeyError, TypeError, ValueError):
        return Refusal(Reason.BAD_OBJECT, "not a voucher")
    if not isinstance(weight, int) or not 1 <= weight <= most:
        return Refusal(Reason.BAD_WEIGHT, f"weight {weight!r}, declared {most}")
    if not 0 <= norm < np.inf or (norm_cap and norm > norm_cap):
        return Refusal(Reason.NORM_CAP, f"norm {norm:.6g}, cap {norm_cap:.6g}")
    return {
        "weight": weight,
        "norm": norm,
        "digest": digest,
        "below": below,
        "loss": float(loss) if isinstance(loss, int | float) else None,
    }


def climb(
    session: "Session",
    arrivals: "Arrivals",
    grid: "TreeGrid",
    own: Sequence[Arrival],
    recipe: Recipe,
) -> Merged:
    """Ask the regions for their states, add them to our own replies, read them off.

    Raises:
        QuorumError: too few replies are left.
    """
    number = arrivals.number
    key = Key(session.run, number)
    parts = [Member(one.name, one.contribution, one.share, one.region) for one in own]
    for _ in range(TRIES):
        behind = arrivals.behind()
        wanted = {
            n: _share(session, arrivals, n) for names in behind.values() for n in names
        }
        ready, survey = branches.prepare(recipe, parts, key) if parts else ([], None)
        surveys = [
            grid.surveys[head] for head in sorted(behind) if head in grid.surveys
        ]
        joined = branches.joined([*([survey] if survey else []), *surveys])
        shares = dict(survey.shares) if survey else {}
        shares |= {n: 1 if recipe.reducer.adds else one for n, one in wanted.items()}
        numbers = agreed(shares, recipe.reducer, exponents(joined.peaks))
        total = branches.summed(recipe, ready, numbers) if ready else None
        states = _states(session, arrivals, grid, numbers, recipe, joined)
        lost = wanted.keys() - {n for one in states.values() for n in one.members}
        if not lost:
            for name in sorted(states):
                state = states[name]
                total = state if total is None else branches.added(total, state)
            break
        arrivals.lose(lost)
        _survey_again(session, arrivals, grid)
    else:
        raise QuorumError(f"round {number}: regions come and go")
    if total is None:
        raise QuorumError(f"round {number}: no region is left")
    rules = next(iter(arrivals.rules.values()))
    merged = branches.read(total, recipe, key)
    return of_tensors(merged, rules.pairs, rules.start)


def _share(session: "Session", arrivals: "Arrivals", name: str) -> int:
    if session.config.merge.weights == "uniform":
        return 1
    weight = int(arrivals.accepted[name].note["weight"])
    return min(weight, arrivals.asked[name].weight)


def _states(
    session: "Session",
    arrivals: "Arrivals",
    grid: "TreeGrid",
    numbers: Numbers,
    recipe: Recipe,
    survey: Survey,
) -> dict[str, Branch]:
    """The states that came and are good; each is sealed."""
    behind = arrivals.behind()
    clients = [name for names in behind.values() for name in names]
    groups = {one.name: one.region for one in session.roster}
    found: dict[str, Branch] = {}
    for head, data in grid.ask(
        "reduce",
        arrivals.number,
        clients,
        session.config.round.deadline_seconds,
        numbers.exponents,
        numbers.shares,
    ):
        try:
            branch = unpacked(data)
            _hold(branch, set(behind[head]), groups, numbers, recipe, survey)
        except PayloadError as error:
            session.record.add(
                "state",
                round=arrivals.number,
                region=head,
                verdict="refused",
                detail=str(error),
            )
            continue
        note = {"digest": digests.of_bytes(data), "members": sorted(branch.members)}
        session.journal.seal(arrivals.number, f"region {head}", data, note)
        session.record.add(
            "state",
            round=arrivals.number,
            region=head,
            verdict="accepted",
            bytes=len(data),
            **note,
        )
        found[head] = branch
    return found


def _survey_again(session: "Session", arrivals: "Arrivals", grid: "TreeGrid") -> None:
    """What the replies that are left come to at first sight."""
    clients = [name for names in arrivals.behind().values() for name in names]
    wait = session.config.round.deadline_seconds
    grid.surveys.clear()
    for head, data in grid.ask("survey", arrivals.number, clients, wait):
        try:
            found = surveyed(Answer.read(data))
        except PayloadError:
            continue
        if found is not None:
            grid.surveys[head] = found


def _hold(
    branch: Branch,
    clients: set[str],
    regions: Mapping[str, str],
    numbers: Numbers,
    recipe: Recipe,
    survey: Survey,
) -> None:
    """Hold a state to what was asked for.

    Raises:
        PayloadError: it is about others, or cannot be their sum.
    """
    tally, members = branch.tally, branch.members
    if not members or not members.keys() <= clients:
        raise PayloadError("the state is of other clients than were asked for")
    if tally.layout != survey.layout or tally.numbers != numbers:
        raise PayloadError("the state was made with other numbers")
    grouped = recipe.outer is not None
    if any(group != (regions[n] if grouped else "") for n, group in members.items()):
        raise PayloadError("the state has clients in other groups")
    if {*tally.planes, *branch.groups} != set(members.values()):
        raise PayloadError("the state has other groups than clients")
    if tally.stacks or tally.whole or (branch.groups and not grouped):
        raise PayloadError("the state holds what was not asked for")
    total = sum(abs(numbers.shares[name]) for name in members)
    zero = recipe.reducer.planes(numbers.total)
    for group, sums in tally.planes.items():
        if (len(sums), sums.dtype) != (zero[0], np.dtype(zero[1])):
            raise PayloadError(f"planes of group {group!r} are of another kind")
        _range(sums, total, numbers)


def _range(sums: Any, total: int, numbers: Numbers) -> None:
    """No sum is larger than its members can make it."""
    most = total << min(numbers.fraction, FRACTION)
    low = sums
    if sums.dtype == np.uint64:
        weights = sums >> kernels.WEIGHT_AT
        low = sums & ((np.uint64(1) << kernels.WEIGHT_AT) - np.uint64(1))
        if (weights > total).any():
            raise PayloadError(
                f"{Reason.PLANE_RANGE}: more weight than the clients have"
            )
    if (low > most).any() or (low.dtype == np.int64 and (low < -most).any()):
        raise PayloadError(f"{Reason.PLANE_RANGE}: more than the clients can add up to")

"""A merge is judged before it replaces the global model.

Every merge that is thought of is folded into the model for the time of one evaluation.
What a contribution is worth is how much worse the merge is without it. Merges are
judged as the server makes them, before its optimiser and the format of the way down.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...aggregators.recipes import recipe
from ...aggregators.spaces import Arrival, Merged
from ...protocols.errors import ConfigError
from ...protocols.settings import Config
from .keepers import CLIENTS, TEST, VALIDATION, Gatekeeper
from .policies import FEWEST, GAIN, LAST, POLICIES

if TYPE_CHECKING:
    from ..arrivals import Arrivals
    from ..mergers import Merger
    from ..sessions import Session

STATE = "quarantine"


def active(session: "Session", arrivals: "Arrivals") -> bool:
    """Whether a round is gated: not where regions hold what would be left out."""
    return session.config.gate.policy != "off" and not arrivals.behind()


def passed(
    session: "Session",
    arrivals: Sequence[Arrival],
    again: "Merger",
    number: int,
    grid: Any = None,
) -> tuple[Merged, dict[str, Any]]:
    """Merge a round's contributions, judge the result, and act as the policy says.

    Args:
        session: the run, its base at the last global model.
        arrivals: the contributions, in name order; at least one.
        again: merges some of them.
        number: the round.
        grid: reaches the clients, where they judge.

    Returns:
        The merge that is released, and what was found, for the record's line "gate".
    """
    keeper = Gatekeeper(session, number, grid)
    held, out = present(session, arrivals, number)
    merged = again(held, "")
    keeper.told |= {
        "policy": keeper.gate.policy,
        "metric": keeper.metric,
        "before": keeper.value(None),
        "merged": keeper.value(merged.update),
        "sitting_out": out,
    }
    keeper.told["good"] = keeper.good(keeper.told["merged"])
    chosen = POLICIES[keeper.gate.policy](keeper, held, merged, again)
    return chosen, keeper.told


def present(
    session: "Session", arrivals: Sequence[Arrival], number: int
) -> tuple[list[Arrival], list[str]]:
    """Who takes part: all but those in quarantine, unless nobody would be left."""
    barred = session.states.get(STATE, {})
    out = [
        one.name
        for one in arrivals
        if one.name in barred and int(barred[one.name][0]) >= number
    ]
    held = [one for one in arrivals if one.name not in out]
    return (held, out) if held else (list(arrivals), [])


def memory(
    session: "Session", told: Mapping[str, Any], number: int
) -> dict[str, dict[str, Any]]:
    """What the next rounds need to know: until when who sits out, by name."""
    barred = dict(session.states.get(STATE, {}))
    until = np.array([number + session.config.gate.rounds], np.int64)
    barred |= dict.fromkeys(told.get("quarantined", ()), until)
    left = {name: one for name, one in barred.items() if int(one[0]) > number}
    return {STATE: left} if left else {}


def check(config: Config) -> None:
    """See that a run's gate can be kept.

    Raises:
        ConfigError: the message names the key.
    """
    gate = config.gate
    if gate.policy == "off":
        return
    told = (VALIDATION, TEST, CLIENTS)
    if gate.source == CLIENTS and gate.policy in ("quarantine", "split"):
        raise ConfigError(
            f'gate.policy = "{gate.policy}" merges some of the cohort: put to clients, '
            'that tells what others sent; take another gate.source, or "fall_back"'
        )
    if config.privacy.mode != "none" and gate.source in told:
        raise ConfigError(
            "gate.source: what a private run is gated by is public: name a file"
        )
    if gate.source not in told and not Path(gate.source).exists():
        raise ConfigError(f"gate.source = {gate.source!r}: there is no such file")
    if gate.source in (VALIDATION, CLIENTS) and not config.data.validation:
        raise ConfigError(
            "gate.source: without data.validation there is nothing to judge"
        )
    if gate.rounds < 1 or gate.clusters < FEWEST or gate.margin < 0:
        raise ConfigError("gate: rounds from 1, clusters from 2, margin from 0")
    for text in gate.fall_back:
        if text.startswith(GAIN):
            _share(text)
        elif text != LAST:
            recipe(text)


def _share(text: str) -> float:
    try:
        found = float(text.removeprefix(GAIN))
    except ValueError:
        found = -1.0
    if not 0 < found < 1:
        raise ConfigError(f"gate.fall_back: {text!r}: a share between 0 and 1")
    return found

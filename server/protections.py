"""Client-level differential privacy, as a round of a run sees it.

Whom a round asks is drawn by secret coins; the release is charged to the ledger, and
its noise drawn from the run's secret and the replies themselves: a resumed run that has
the same replies repeats the same bytes and pays once, one that has other replies draws
other noise and pays again.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..aggregators import sensitivities
from ..aggregators.base import Key
from ..aggregators.noises import Mechanism
from ..aggregators.privates import Private, Shape, merge_private
from ..aggregators.recipes import recipe
from ..aggregators.spaces import Arrival, Merged
from ..client import accountants
from ..client.accountants import Event
from ..client.ledgers import FILE, Charge, Ledger
from ..protocols import digests, disks
from ..protocols.errors import CheckpointError, ConfigError
from ..protocols.secrets import Secret, fresh
from ..protocols.settings import Config
from . import records, rosters
from .arrivals import Arrivals
from .rosters import Member
from .sessions import Session

FOLDER = "privacy"
STATE = "privacy"
_SHARE = 20.0  # clip_noise: a twentieth of the denominator (Andrew et al., section 3)


@dataclass(frozen=True, slots=True)
class Guarded:
    """A round merged under noise.

    Attributes:
        merged: what `fedelta.aggregators.spaces.merge_round` would give.
        state: what the next round needs: the clip, and how much was charged.
    """

    merged: Merged
    state: dict[str, Any]


def active(config: Config) -> bool:
    """Whether noise is on the sums of clients' contributions."""
    return config.privacy.mode == "client"


def begin(session: Session) -> None:
    """See that the planned rounds keep the budget, and say what they will spend.

    Raises:
        ConfigError: they do not; the message says how many do.
    """
    given, rounds = session.config.privacy, session.config.run.rounds
    if not active(session.config):
        return
    _multiplier(session)  # an impossible split is told before round 1
    event = Event(given.noise_multiplier, given.rate)
    planned = accountants.epsilon(
        [Event(event.multiplier, event.rate, rounds)], given.delta
    )
    if given.epsilon and planned > given.epsilon:
        fits = accountants.most(event, given.epsilon, given.delta, rounds)
        raise ConfigError(
            f"{rounds} rounds would spend epsilon {planned:.4g} at delta "
            f"{given.delta:g}, privacy.epsilon is {given.epsilon:g}: {fits} rounds "
            "fit, or take more noise"
        )
    session.record.add(
        "privacy",
        round=0,
        adjacency="one client more or less",
        planned=planned,
        epsilon=0.0,
        delta=given.delta,
        denominator=denominator(session),
    )


def asked(session: Session, number: int) -> list[Member]:
    """Whom a round asks: under noise each client by a secret coin of its own."""
    if not active(session.config):
        return session.roster.sample(session.config, session.run, number)
    members = list(session.roster)
    coins = secret(session).of("sample", number).uniform(0, len(members))
    rate = session.config.privacy.rate
    return [
        one for one, coin in zip(members, coins.tolist(), strict=True) if coin < rate
    ]


def quorum(config: Config, count: int) -> int:
    """How many replies a round needs; none under noise: giving up would tell."""
    return 0 if active(config) else rosters.quorum(config, count)


def guarded(
    session: Session, found: Sequence[Arrival], arrivals: Arrivals
) -> Guarded | None:
    """Charge and merge a round under noise; None where there is to be none.

    Raises:
        BudgetError: the round would exceed the budget.
        CheckpointError: the ledger is not the one that the run has written.
    """
    config, number = session.config, arrivals.number
    if not active(config):
        return None
    given = config.privacy
    charged = ledger(session)
    if charged.count < int(_held(session, "charges", 0.0)):
        raise CheckpointError(
            f"{_path(session) / FILE}: charges of this run are missing"
        )
    clip = _held(session, "clip", given.clip)
    subject = _subject(session, arrivals, clip)
    event = Event(given.noise_multiplier, given.rate)
    spent = charged.charge(Charge("client", number, subject, event))
    source = secret(session).of("noise", number, subject)
    mechanism = _mechanism(session, clip, number)
    private = merge_private(
        recipe(config.merge.recipe),
        _shape(session, number),
        found,
        mechanism,
        source.normals,
        key=Key(session.run, number),
        rank_down=config.lora.rank_down or 4 * config.highest_rank,
        carry=session.states.get("carry", {}),
    )
    told = {"clip": clip, "deviation": mechanism.deviation, "epsilon": spent}
    session.record.add("privacy", round=number, delta=given.delta, **told)
    drawn = source.normals("clip", 0, 1)[0]
    clip = _followed(session, clip, private, len(found), float(drawn))
    state = {"clip": clip, "charges": float(charged.count)}
    merged = private.merged
    return Guarded(
        Merged(merged.update, merged.carry, merged.report | told),
        {name: np.array([value]) for name, value in state.items()},
    )


def once(config: Config, folder: Path) -> None:
    """Refuse to merge a run's replies a second time.

    Raises:
        ConfigError: they were merged under noise.
    """
    if active(config):
        raise ConfigError(
            f"{folder}: its replies were merged under noise that was paid for once; "
            "merging them again would spend more of the budget"
        )


def summary(session: Session) -> dict[str, Any]:
    """What a run's summary says of its privacy; nothing without noise."""
    given = session.config.privacy
    if given.mode == "record":
        return {"privacy": _of_records(session)}
    if not active(session.config):
        return {}
    charged = ledger(session)
    return {
        "privacy": {
            "level": "client",
            "adjacency": "one client more or less",
            "epsilon": charged.spent,
            "delta": given.delta,
            "budget": given.epsilon,
            "releases": charged.count,
            "noise_multiplier": given.noise_multiplier,
            "rate": given.rate,
            "ledger": charged.head,
        }
    }


def _of_records(session: Session) -> dict[str, Any]:
    """The most that any institution said it spent: they hold ledgers of their own."""
    given = session.config.privacy
    said = [
        float(line["metrics"].get("epsilon", 0.0))
        for line in records.read(session.record.path)
        if line["kind"] == "contribution" and line["verdict"] == "accepted"
    ]
    return {
        "level": "record",
        "adjacency": "one record of one institution more or less",
        "epsilon": max(said, default=0.0),
        "delta": given.delta,
        "budget": given.epsilon,
        "releases": len(said),
        "noise_multiplier": given.noise_multiplier,
    }


def denominator(session: Session) -> float:
    """What every sum is divided by: fixed before round 1, and public."""
    given = session.config.privacy
    return given.denominator or max(1.0, given.rate * len(session.roster))


def secret(session: Session) -> Secret:
    """The run's secret: drawn once, kept in its folder for this user alone."""
    path = _path(session) / "secret"
    if not path.exists():
        disks.write(path, fresh(), private=True)
    return Secret(path.read_bytes()).of(session.run)


def _held(session: Session, name: str, default: float) -> float:
    """A number that the last committed round left."""
    found = session.states.get(STATE, {}).get(name)
    return default if found is None else float(found[0])


def _path(session: Session) -> Path:
    return session.journal.folder / FOLDER


def ledger(session: Session) -> Ledger:
    """The run's ledger."""
    given = session.config.privacy
    return Ledger(_path(session) / FILE, given.delta, given.epsilon)


def _subject(session: Session, arrivals: Arrivals, clip: float) -> str:
    """Digest of what a release is made from: other replies, another release."""
    merged = {n: one.note["digest"] for n, one in sorted(arrivals.accepted.items())}
    said = [session.run, session.model.digest, arrivals.number, clip, merged]
    return digests.of_bytes(json.dumps(said).encode())


def _shape(session: Session, number: int) -> Shape:
    config = session.config
    space = "full" if config.train.mode == "full" else config.lora.space
    return Shape(
        space, session.layout(""), session.pairs(""), session.start("", number)
    )


def _mechanism(session: Session, clip: float, number: int) -> Mechanism:
    given = session.config.privacy
    layout = _shape(session, number).merged()
    chosen = recipe(session.config.merge.recipe)
    reach = sensitivities.bound(
        clip, given.counts, sensitivities.support(chosen, layout)
    )
    deviation = _multiplier(session) * reach
    return Mechanism(clip, deviation, denominator(session), given.counts)


def _multiplier(session: Session) -> float:
    """The noise multiplier of the sums, where the clip's own count shares the budget.

    Source: Andrew et al., `Differentially Private Learning with Adaptive Clipping
    <https://arxiv.org/abs/1905.03871>`_, 2021, theorem 1.

    Raises:
        ConfigError: the count takes all of it.
    """
    given = session.config.privacy
    if not given.quantile:
        return given.noise_multiplier
    rest = given.noise_multiplier**-2 - (2.0 * _clip_noise(session)) ** -2
    if rest <= 0:
        raise ConfigError(
            f"privacy.clip_noise is {_clip_noise(session):g}: it must be above half "
            f"the noise multiplier, {given.noise_multiplier / 2:g}"
        )
    return 1.0 / math.sqrt(rest)


def _clip_noise(session: Session) -> float:
    return session.config.privacy.clip_noise or denominator(session) / _SHARE


def _followed(
    session: Session, clip: float, private: Private, count: int, drawn: float
) -> float:
    """The next round's clip, by the noisy share of contributions within this one."""
    given = session.config.privacy
    if not given.quantile:
        return clip
    noisy = private.inside - 0.5 * count + _clip_noise(session) * drawn
    share = noisy / denominator(session) + 0.5
    return clip * math.exp(-given.clip_rate * (share - given.quantile))

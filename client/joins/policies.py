"""What an institution agrees to: its own file, and the plans that it refuses.

``join.toml`` belongs to the institution and never travels. A plan outside it is
answered with a refusal that names what was asked and what is allowed, so that the
coordinator sees why.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ...protocols.errors import ConfigError, ContributionError
from ...protocols.grammar import parse
from ...protocols.settings import Client, Config


class NotAgreedError(ContributionError):
    """The plan asks for something that this institution does not agree to."""


@dataclass(frozen=True, slots=True)
class Data:
    """[data]: which data takes part.

    Attributes:
        file: JSONL, CSV, Parquet or a `datasets` folder.
        text: the column with the text.
        label: the column with the class.
        examples_cap: it counts for at most this many examples; 0: no cap.
    """

    file: str
    text: str = "text"
    label: str = "label"
    examples_cap: int = 0


@dataclass(frozen=True, slots=True)
class Model:
    """[model]: the base model as this institution has it.

    Attributes:
        folder: where it is; empty: what the run's `model.id` names.
        digest: digest that it must have; empty: any (the coordinator compares it).
    """

    folder: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Compute:
    """[compute]: how much work a round may be.

    Attributes:
        threads: of the training process.
        nice: how politely it runs, 0 to 19.
        steps: at most so many optimiser steps a round.
        batch: at most so many examples a step.
        max_length: at most so many tokens a text.
        rounds: at most so many rounds a run.
    """

    threads: int = 1
    nice: int = 10
    steps: int = 1000
    batch: int = 256
    max_length: int = 4096
    rounds: int = 1000


@dataclass(frozen=True, slots=True)
class Agrees:
    """[agrees]: which merges and formats this institution's updates may go into.

    Attributes:
        recipes: names of merges; empty: any.
        wires: names of reply formats; empty: any.
    """

    recipes: tuple[str, ...] = ()
    wires: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Privacy:
    """[privacy]: floors under which nothing is sent.

    Attributes:
        cohort: a release must merge at least so many institutions.
        mode: the level that a run must have: under "record" no reply is without noise,
            under "client" the server may be the one who adds it; empty: any.
        clip: updates must be clipped to at most this norm; 0: no demand.
        noise: at least this noise multiplier; 0: no demand.
        epsilon: a run's budget must be at most this; 0: no demand. The ledger of what
            this institution releases counts all its runs.
        delta: the same of the chance that is left.
        secure_aggregation: only sums may be seen.
    """

    cohort: int = 1
    mode: str = ""
    clip: float = 0.0
    noise: float = 0.0
    epsilon: float = 0.0
    delta: float = 0.0
    secure_aggregation: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """join.toml."""

    data: Data
    model: Model = field(default_factory=Model)
    compute: Compute = field(default_factory=Compute)
    agrees: Agrees = field(default_factory=Agrees)
    privacy: Privacy = field(default_factory=Privacy)


def check(policy: Policy, config: Config) -> None:
    """Refuse a run that is outside the policy.

    Raises:
        NotAgreedError: names everything that is asked too much of.

    Example:
        >>> policy = Policy(Data("notes.jsonl"), compute=Compute(steps=4))
        >>> check(policy, Config())
        Traceback (most recent call last):
        fedelta.client.joins.policies.NotAgreedError: this institution does not agree: \
train.steps is 8, allowed is at most 4
    """
    found = [
        *_compute(policy, config),
        *_merges(policy, config),
        *_privacy(policy, config),
    ]
    if found:
        raise NotAgreedError(f"this institution does not agree: {'; '.join(found)}")


def own(policy: Policy, config: Config, name: str) -> Config:
    """The run as this institution runs it: on its own data and its own model's folder.

    Args:
        policy: names data and model.
        config: the coordinator's; what it says of data is not followed.
        name: this institution's.

    Raises:
        NotAgreedError: the run names no classes, which only a hosted run needs.
    """
    if not config.data.labels:
        raise NotAgreedError("a hosted run must name its classes: data.labels")
    data = replace(
        config.data,
        source=policy.data.file,
        text=policy.data.text,
        label=policy.data.label,
        test=0.0,
        examples=0,
        partition="iid",
    )
    mine = Client(name, data=policy.data.file, examples_cap=policy.data.examples_cap)
    model = replace(config.model, id=policy.model.folder or config.model.id)
    return replace(config, data=data, clients=(mine,), model=model)


def _compute(policy: Policy, config: Config) -> Iterator[str]:
    asked = {
        "train.steps": (
            max([config.train.steps, *config.train.phases, config.personal.steps]),
            policy.compute.steps,
        ),
        "train.batch": (config.train.batch, policy.compute.batch),
        "train.max_length": (config.train.max_length, policy.compute.max_length),
        "run.rounds": (config.run.rounds, policy.compute.rounds),
    }
    for key, (value, most) in asked.items():
        if value > most:
            yield f"{key} is {value}, allowed is at most {most}"


def _merges(policy: Policy, config: Config) -> Iterator[str]:
    agrees = policy.agrees
    asked = {
        "merge.recipe": (config.merge.recipe, agrees.recipes),
        "wire.up": (config.wire.up, agrees.wires),
    }
    for key, (text, allowed) in asked.items():
        if allowed and (strange := sorted(_names(text) - set(allowed))):
            yield f"{key} uses {', '.join(strange)}, allowed is {', '.join(allowed)}"


def _privacy(policy: Policy, config: Config) -> Iterator[str]:
    floor, given = policy.privacy, getattr(config, "privacy", None)
    cohort = _cohort(config)
    if cohort < floor.cohort:
        yield f"a release may merge {cohort} institutions, wanted are {floor.cohort}"
    level = getattr(given, "mode", "none")
    hides = level != "none"
    if floor.mode not in ("", level):
        yield f'privacy.mode is "{level}", wanted is "{floor.mode}"'
    fixed = hides and not _number(given, "quantile")  # one that follows can grow
    clip = _number(given, "clip") if fixed else 0.0
    noise = _number(given, "noise_multiplier") if hides else 0.0
    if floor.clip and not 0 < clip <= floor.clip:
        yield f"updates are clipped to {clip or 'nothing'}, wanted is {floor.clip}"
    if noise < floor.noise:
        yield f"the noise multiplier is {noise}, wanted is {floor.noise}"
    for key in ("epsilon", "delta"):
        most, asked = getattr(floor, key), _number(given, key) if hides else 0.0
        if most and not 0 < asked <= most:
            yield f"privacy.{key} is {asked or 'not held'}, allowed is at most {most}"
    if floor.secure_aggregation and not getattr(given, "secure_aggregation", False):
        yield "secure aggregation is off, wanted is on"


def _cohort(config: Config) -> int:
    """The fewest replies that a round of this run merges."""
    asked = config.round.clients or len(config.clients)
    wanted = config.round.quorum
    return max(1, int(wanted) if wanted >= 1 else -int(-wanted * asked // 1))


def _number(table: Any, key: str) -> float:
    return float(getattr(table, key, 0.0) or 0.0)


def _names(text: str) -> set[str]:
    """Every merge or format that a text calls, nested ones too."""
    try:
        return set(_calls(parse(text)))
    except ConfigError as error:
        raise NotAgreedError(f"{text!r} is not understood: {error}") from error


def _calls(value: Any) -> Iterator[str]:
    if isinstance(value, tuple):
        for one in value:
            yield from _calls(one)
    elif hasattr(value, "kwargs"):
        if value.name != "pipe":
            yield value.name
        yield from _calls(value.args)
        yield from _calls(tuple(value.kwargs.values()))

"""What a configuration must satisfy beyond its types, told before round 1."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from ..aggregators import agreements, furthers
from ..aggregators.base import FORMED
from ..aggregators.outer import optimizer
from ..aggregators.recipes import properties, recipe
from ..client import restrictions
from ..protocols.budgets import size
from ..protocols.errors import ConfigError
from ..protocols.settings import Config
from ..protocols.wires import AUTO, Wire, wire
from . import exports, paces, premises
from .evidence import gates

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MOST_CLIENTS = 1 << 16
_WHOLE = ("fp32", "fp16")


def _at_least(least: float) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value >= least), f"at least {least}"


def _above(limit: float) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value > limit), f"above {limit}"


_share = (lambda value: 0 <= value < 1), "a share in [0, 1)"

_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "run.seed": _at_least(0),
    "run.rounds": _at_least(1),
    "data.clients": ((lambda v: 1 <= v <= _MOST_CLIENTS), f"from 1 to {_MOST_CLIENTS}"),
    "data.alpha": _above(0),
    "data.examples": _at_least(0),
    "data.test_examples": _at_least(0),
    "data.validation": _share,
    "data.regions": _at_least(1),
    "train.steps": _at_least(1),
    "train.phases": (
        (lambda value: all(one >= 1 for one in value)),
        "a list of numbers that are at least 1",
    ),
    "personal.steps": _at_least(0),
    "train.batch": _at_least(1),
    "train.micro_batch": _at_least(0),
    "train.learning_rate": _above(0),
    "train.warmup": _share,
    "train.weight_decay": _at_least(0),
    "train.clip_norm": _at_least(0),
    "train.max_length": _at_least(1),
    "train.prox_mu": _at_least(0),
    "lora.rank": _at_least(1),
    "lora.alpha": _above(0),
    "lora.rank_down": _at_least(0),
    "lora.targets": ((lambda value: len(value) > 0), "a list with at least one name"),
    "round.clients": _at_least(0),
    "round.quorum": _above(0),
    "round.deadline_seconds": _above(0),
    "round.norm_cap": _at_least(0),
    "round.retries": _at_least(0),
    "eval.every": _at_least(1),
    "eval.early_stop": _at_least(0),
}


def check(config: Config) -> None:
    """Check values and what they ask for together.

    Raises:
        ConfigError: the message names the key and what is allowed.

    Example:
        >>> from fedelta.protocols.settings import Run
        >>> check(Config(run=Run(rounds=0)))
        Traceback (most recent call last):
        fedelta.protocols.errors.ConfigError: run.rounds must be at least 1, not 0
    """
    _ranges(config)
    _clients(config)
    _task(config)
    _rounds(config)
    _eval(config)
    _personal(config)
    _journal(config)
    exports.check(config)
    _merge(config)
    _wire(config)
    restrictions.check(config)
    paces.check(config)
    agreements.check(config)
    premises.check(config)
    gates.check(config)


def _ranges(config: Config) -> None:
    for path, (holds, wanted) in _RANGES.items():
        table, key = path.split(".")
        value = getattr(getattr(config, table), key)
        if not holds(value) or value != value:  # noqa: PLR0124, a NaN
            raise ConfigError(f"{path} must be {wanted}, not {value!r}")


def _clients(config: Config) -> None:
    seen: set[str] = set()
    for place, client in enumerate(config.clients):
        if not _NAME.fullmatch(client.name):
            raise ConfigError(
                f"clients[{place}].name must be letters, digits, dot, dash or "
                f"underscore, at most 63, not {client.name!r}"
            )
        if client.name in seen:
            raise ConfigError(f"clients[{place}].name: {client.name!r} is there twice")
        if client.examples_cap < 0:
            raise ConfigError(f"clients[{place}]: caps must be at least 0")
        with _at(f"clients[{place}].up_bytes"):
            size(client.up_bytes)
        if client.rank < 0 or client.alpha < 0:
            raise ConfigError(f"clients[{place}]: rank and alpha must be at least 0")
        seen.add(client.name)


def _task(config: Config) -> None:
    """What only one of the tasks has, and what merges only alike."""
    if config.model.task == "classification":
        for path, asked in (
            ("data.prompt", config.data.prompt),
            ("data.completion", config.data.completion),
            ("data.messages", config.data.messages),
            ("train.packing", config.train.packing),
        ):
            if asked:
                raise ConfigError(f'{path} is for model.task = "causal-lm"')
    lora, own = config.lora, [config.of(one.name).lora for one in config.clients]
    if lora.space not in FORMED and any(one != lora for one in own):
        raise ConfigError(
            f'lora.space = "{lora.space}" merges equal ranks and alphas only: take '
            'lora.space = "product", or leave clients.rank and clients.alpha out'
        )


def _rounds(config: Config) -> None:
    there = len(config.clients) or config.data.clients
    asked = config.round.clients or there
    if not config.data.partition.startswith("column:"):
        if asked > there:
            raise ConfigError(f"round.clients is {asked}, but there are only {there}")
        if config.round.quorum >= 1 and config.round.quorum > asked:
            raise ConfigError(
                f"round.quorum is {config.round.quorum:g}, but a round asks {asked}"
            )
    if config.round.quorum > 1 and config.round.quorum != int(config.round.quorum):
        raise ConfigError("round.quorum must be a share below 1 or a whole number")
    if not config.run.out or PurePath(config.run.out) == PurePath():
        raise ConfigError("run.out must name a folder for the run")


def _eval(config: Config) -> None:
    if config.eval.probes and not config.data.validation:
        raise ConfigError(
            "eval.probes: without data.validation clients have nothing to probe with"
        )
    steered = config.eval.early_stop or config.eval.keep == "best"
    if steered and config.eval.where == "none":
        raise ConfigError(
            'eval.early_stop and eval.keep = "best" need evaluations: set eval.where'
        )


def _personal(config: Config) -> None:
    given = config.personal
    if not given.steps:
        return
    if config.eval.where not in ("clients", "both") or not config.data.validation:
        raise ConfigError(
            "personal.steps: clients choose their own mix where they judge: set "
            'eval.where to "clients" or "both", and data.validation'
        )
    if not exports.has_factors(config) or config.lora.space == "share-a":
        raise ConfigError(
            "personal.steps: what clients keep is an adapter of their own: see "
            "train.mode and lora.space"
        )
    if not all(0 <= share <= 1 for share in given.shares):
        raise ConfigError("personal.shares are shares in [0, 1]")


def _journal(config: Config) -> None:
    keep = config.journal.keep
    right = keep in ("all", "last") if isinstance(keep, str) else keep >= 1
    if not right:
        raise ConfigError(
            f'journal.keep must be "all", "last" or a number of rounds, not {keep!r}'
        )


def _merge(config: Config) -> None:
    with _at("merge.recipe"):
        whole = config.train.mode == "full"
        properties(recipe(config.merge.recipe), "full" if whole else config.lora.space)
    if config.merge.server_optimizer:
        with _at("merge.server_optimizer"):
            averages = optimizer(config.merge.server_optimizer).average is not None
        if averages and config.eval.keep == "best":
            raise ConfigError(
                f"{config.merge.server_optimizer} hands out the average of all models: "
                'set eval.keep = "last"'
            )
        if config.lora.space == "frozen-a" and config.train.mode == "lora":
            raise ConfigError(
                "merge.server_optimizer acts on products or whole weights, which "
                'lora.space = "frozen-a" never forms: leave one of them out'
            )


def _wire(config: Config) -> None:
    with _at("wire.up"):
        _named(wire(config.wire.up), {AUTO})
        _measured(config)
    with _at("wire.down"):
        _named(wire(config.wire.down), {AUTO})
    with _at("wire.up_bytes"):
        size(config.wire.up_bytes)
    with _at("wire.down_bytes"):
        size(config.wire.down_bytes)


def _measured(config: Config) -> None:
    """Hold what travels beside changes to a format that keeps all of it."""
    suffix = furthers.wanted(recipe(config.merge.recipe))
    budgets = [config.wire.up_bytes, *(one.up_bytes for one in config.clients)]
    if suffix and (config.wire.up not in _WHOLE or any(map(size, budgets))):
        raise ConfigError(
            f"{config.merge.recipe} has clients send tensors NAME{suffix} beside their "
            f"changes: set wire.up to {' or '.join(_WHOLE)}, and no up_bytes"
        )


def _named(found: Wire, allowed: set[str]) -> None:
    """A mixed format is for whoever sees what it is for."""
    if found.places == "mixed" and found.name not in allowed:
        raise ConfigError(f"{found} is chosen by who sends, not here")


@contextmanager
def _at(path: str) -> Iterator[None]:
    """Put the key before what is said of its value."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error

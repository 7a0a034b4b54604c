"""What to change so that a run keeps within a stated limit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from ...protocols.budgets import size
from ...protocols.errors import ConfigError
from ...protocols.settings import Config
from .plans import (
    BYTES,
    DOWN,
    EPSILON,
    GOALS,
    MEMORY,
    SECONDS,
    SERVER,
    UP,
    Planner,
)
from .watches import Tell, unheard

Change = tuple[str, Any]

LIGHT = ("sign256", "sparse(density=0.4, values='sign256')", "sparse(density=0.05)")
LOW = ("int8", "sign256", "masked(density=0.25, values='sign256')")
FEWEST = 2
MOST = 6
"""Ways that are told."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A stated limit.

    Attributes:
        goal: of what, by the names of `plans.GOALS`.
        most: the limit.
    """

    goal: str
    most: float

    @classmethod
    def read(cls, text: str) -> "Limit":
        """Read ``GOAL=NUMBER``.

        Raises:
            ConfigError: it is none.

        Example:
            >>> Limit.read("bytes=20MB").most, Limit.read("seconds=1.5").most
            (20000000.0, 1.5)
        """
        goal, equals, value = text.partition("=")
        goal = goal.strip()
        if not equals or goal not in GOALS:
            told = ", ".join(f"{name} ({what})" for name, what in GOALS.items())
            raise ConfigError(f"--limit {text}: write it as GOAL=NUMBER; goals: {told}")
        try:
            plain = goal in (SECONDS, EPSILON)
            found = float(value) if plain else float(size(value.strip()))
        except ValueError:
            raise ConfigError(f"--limit {text}: {value!r} is no number") from None
        return cls(goal, found)

    def reached(self, found: Mapping[str, Any]) -> float:
        """What a plan comes to.

        Raises:
            ConfigError: it says nothing of that.
        """
        if found[self.goal] is None:
            raise ConfigError(f"--limit {self.goal}: nothing is known of the run's")
        return float(found[self.goal])


@dataclass(frozen=True, slots=True)
class Way:
    """A change of settings and what it comes to.

    Attributes:
        changes: keys with their new values.
        reached: the goal then.
    """

    changes: tuple[Change, ...]
    reached: float

    @property
    def words(self) -> str:
        """As options of the command line."""
        return " ".join(f"--set {key}={_text(value)}" for key, value in self.changes)


def ways(planner: Planner, limit: Limit, tell: Tell = unheard) -> list[Way]:
    """Ways to keep within a limit, those that change least first.

    Single changes are tried, and where none is enough, two at once; if nothing is,
    what comes nearest is told.

    Args:
        planner: of the run.
        limit: that it is above.
        tell: takes how many changes are planned, and of how many.
    """
    config = planner.config
    single = list(_changes(config, limit.goal))
    tried = list[Way]()
    for one in single:
        tell(len(tried), len(single))
        tried.append(_tried(planner, (one,), limit))
    good = [one for one in tried if one.reached <= limit.most]
    if good or len(single) < FEWEST:
        return sorted(good or tried, key=_less(limit))[:MOST]
    order = sorted(zip(tried, single, strict=True), key=lambda two: two[0].reached)
    best: dict[str, Change] = {}
    for _, change in order:
        best.setdefault(change[0], change)
    pairs = list(combinations(list(best.values())[:4], 2))
    for pair in pairs:
        tell(len(tried), len(single) + len(pairs))
        tried.append(_tried(planner, pair, limit))
    good = [one for one in tried if one.reached <= limit.most]
    return sorted(good or tried, key=_less(limit))[: MOST if good else 1]


def _less(limit: Limit) -> Any:
    """Fewest changes first; then what is nearest to the limit from below."""

    def key(way: Way) -> tuple[bool, int, float]:
        over = way.reached > limit.most
        return over, len(way.changes), way.reached if over else -way.reached

    return key


def _tried(planner: Planner, changes: Sequence[Change], limit: Limit) -> Way:
    found: Mapping[str, Any] = planner.plan(changed(planner.config, changes))
    return Way(tuple(changes), limit.reached(found))


def changed(config: Config, changes: Sequence[Change]) -> Config:
    """A configuration with other values of some keys.

    Example:
        >>> changed(Config(), [("train.steps", 2)]).train.steps
        2
    """
    for path, value in changes:
        table, _, key = path.partition(".")
        config = replace(
            config, **{table: replace(getattr(config, table), **{key: value})}
        )
    return config


def _changes(config: Config, goal: str) -> Iterator[Change]:
    """Single changes that may lower a goal."""
    for goals, made in _LOWERING:
        if goal in goals:
            yield from made(config)


def _ups(config: Config) -> Iterator[Change]:
    for text in LIGHT:
        if text != config.wire.up and not config.wire.up_bytes:
            yield "wire.up", text


def _downs(config: Config) -> Iterator[Change]:
    for text in LOW:
        if text != config.wire.down:
            yield "wire.down", text
    lora = config.lora
    if config.train.mode == "lora" and lora.space == "product":
        for rank in (2 * lora.rank, lora.rank):
            if rank < (lora.rank_down or 4 * config.highest_rank):
                yield "lora.rank_down", rank


def _ranks(config: Config) -> Iterator[Change]:
    if config.train.mode == "lora":
        for rank in (config.lora.rank // 2, config.lora.rank // 4):
            if rank >= 1:
                yield "lora.rank", rank


def _rounds(config: Config) -> Iterator[Change]:
    if config.run.rounds > 1:
        yield "run.rounds", config.run.rounds // 2


def _steps(config: Config) -> Iterator[Change]:
    if config.train.steps > 1 and not config.train.phases:
        yield "train.steps", config.train.steps // 2


def _quieter(config: Config) -> Iterator[Change]:
    """More noise, or fewer looks at the same people."""
    given = config.privacy
    for times in (1.25, 1.5, 2.0, 3.0, 4.0):
        yield "privacy.noise_multiplier", round(times * given.noise_multiplier, 3)
    if given.mode == "client" and not given.secure_aggregation:
        yield "privacy.rate", given.rate / 2
    yield from _rounds(config)
    if given.mode == "record":
        yield from _steps(config)
        if config.train.batch > 1:
            yield "train.batch", config.train.batch // 2


def _judged(config: Config) -> Iterator[Change]:
    if config.eval.where != "clients":
        yield "eval.where", "clients"


def _leaner(config: Config) -> Iterator[Change]:
    """What a client's training can do with less memory."""
    train = config.train
    size = train.micro_batch or train.batch
    while size > 1:
        size //= 2
        yield "train.micro_batch", size
    if not train.checkpointing:
        yield "train.checkpointing", True
    if train.max_length > 16:  # noqa: PLR2004
        yield "train.max_length", train.max_length // 2
    if train.mode == "full":
        yield "train.mode", "lora"
    if train.optimizer == "adamw":
        yield "train.optimizer", "sgd"


_LOWERING: tuple[tuple[tuple[str, ...], Callable[[Config], Iterator[Change]]], ...] = (
    ((BYTES, UP, SECONDS), _ups),
    ((BYTES, DOWN, SECONDS), _downs),
    ((BYTES, UP, DOWN, MEMORY, SECONDS), _ranks),
    ((BYTES,), _rounds),
    ((SECONDS,), _steps),
    ((MEMORY,), _leaner),
    ((SERVER,), _judged),
    ((EPSILON,), _quieter),
)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return f'"{text}"' if set(text) & set(" ()'") else text

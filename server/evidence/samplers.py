"""What a search tries next: drawn, gone through, or learned from what was tried.

All are asked and told, and are deterministic: told the same trials in the same order
they ask for the same next one, so that a search that was stopped goes on as it would
have gone.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

from ...protocols import seeds
from ...protocols.errors import ConfigError
from .variables import Value, Variable, combinations, settings

Chosen = Mapping[str, Value]
KINDS = ("random", "grid", "optuna", "cma")
UNTAUGHT = ("random", "grid")
"""Those that ask for the same whatever they are told."""

ROW = 1000
"""Draws in a row that bring nothing new, after which none are left."""


class Sampler(Protocol):
    """Where trials come from."""

    def ask(self) -> Chosen | None:
        """The next one; None: there is none left."""

    def tell(self, value: float, *others: float) -> None:
        """What the one that was asked for last is worth, and costs: less is better."""


def sampler(
    kind: str, variables: Sequence[Variable], seed: int, goals: Sequence[str] = ()
) -> Sampler:
    """A sampler by name.

    Args:
        kind: one of `KINDS`.
        variables: what is varied.
        seed: of its draws.
        goals: what else than the metric it is told of, trial by trial.

    Raises:
        ConfigError: no such one, what it needs is not installed, it cannot vary
            what is to be varied, or learns from one number alone.
    """
    if kind not in KINDS:
        raise ConfigError(f"--sampler {kind}: it is one of {', '.join(KINDS)}")
    if kind in ("optuna", "cma") and find_spec(kind) is None:
        raise ConfigError(f'--sampler {kind} needs it: pip install "fedelta[search]"')
    if goals and kind != "optuna":
        raise ConfigError(
            "--also is learned from by --sampler optuna alone; the Pareto front is by "
            "all goals whoever samples"
        )
    if kind == "grid":
        return Grid(variables)
    if kind == "optuna":
        return Bayesian(variables, seed, len(goals))
    made: dict[str, Callable[[Sequence[Variable], int], Sampler]] = {
        "random": Random,
        "cma": Evolution,
    }
    return made[kind](variables, seed)


class Random:
    """Keyed draws, nothing twice."""

    def __init__(self, variables: Sequence[Variable], seed: int) -> None:
        self._variables, self._seed, self._count = variables, seed, 0
        self._asked: list[Chosen] = []

    def ask(self) -> Chosen | None:
        """The next draw that makes new settings; None: so many in a row were not."""
        for _ in range(ROW):
            key = seeds.key("search", self._seed, self._count)
            shares = seeds.uniform(key, 0, len(self._variables))
            self._count += 1
            pairs = zip(self._variables, shares.tolist(), strict=True)
            drawn = {one.name: one.at(share) for one, share in pairs}
            given = settings(drawn) or drawn  # without what they have no use for
            if given not in self._asked:
                self._asked.append(given)
                return drawn
        return None

    def tell(self, value: float, *others: float) -> None:
        """Nothing is learned."""


class Grid:
    """All combinations in turn."""

    def __init__(self, variables: Sequence[Variable]) -> None:
        self._left = iter(combinations(variables))

    def ask(self) -> Chosen | None:
        """The next combination."""
        return next(self._left, None)

    def tell(self, value: float, *others: float) -> None:
        """Nothing is learned."""


class Bayesian:
    """Optuna's tree-structured Parzen estimator (Bergstra et al., 2011).

    With further goals it learns what lies on the Pareto front of all (Ozaki et al.,
    2022).
    """

    def __init__(
        self, variables: Sequence[Variable], seed: int, goals: int = 0
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._variables = variables
        made = optuna.samplers.TPESampler(seed=seed & 0xFFFFFFFF, n_startup_trials=6)
        less = [optuna.study.StudyDirection.MINIMIZE] * (1 + goals)
        self._study = optuna.create_study(sampler=made, directions=less)
        self._trial: Any = None

    def ask(self) -> Chosen | None:
        """What promises most."""
        self._trial = self._study.ask()
        return {one.name: self._suggested(one) for one in self._variables}

    def tell(self, value: float, *others: float) -> None:
        """Learn from the last one."""
        self._study.tell(self._trial, [value, *others])

    def _suggested(self, one: Variable) -> Value:
        if one.choices:
            places = list(range(len(one.choices)))
            place = int(self._trial.suggest_categorical(one.name, places))
            return one.choices[place]
        return one.at(float(self._trial.suggest_float(one.name, 0.0, 1.0)))


class Evolution:
    """CMA-ES (Hansen, 2016) on places from 0 to 1; choices are cut from them."""

    def __init__(self, variables: Sequence[Variable], seed: int) -> None:
        import cma

        if len(variables) < 2:  # noqa: PLR2004
            raise ConfigError("--sampler cma varies two things or more")
        self._variables = variables
        options = {"bounds": [0, 1], "seed": seed % (1 << 31) + 1, "verbose": -9}
        self._strategy = cma.CMAEvolutionStrategy([0.5] * len(variables), 0.3, options)
        self._asked: list[Any] = []
        self._values: list[float] = []

    def ask(self) -> Chosen | None:
        """The next of a generation."""
        if len(self._values) == len(self._asked):
            if self._asked:
                self._strategy.tell(self._asked, self._values)
            self._asked, self._values = self._strategy.ask(), []
        places = self._asked[len(self._values)]
        pairs = zip(self._variables, places, strict=True)
        return {one.name: one.at(float(place)) for one, place in pairs}

    def tell(self, value: float, *others: float) -> None:  # noqa: ARG002
        """Learn from the last one, once its generation is whole."""
        self._values.append(value)

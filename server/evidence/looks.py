"""A look at a finished run: on how many texts its models are judged, and how far it is.

Judging is what a look costs. So each client's task is judged on a few texts, drawn once
and the same for all models, and what is judged by everybody on four times as many.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ...client.data import CAUSAL, Examples
from ...client.evaluation import evaluate
from ...client.trials import trial
from ...protocols import seeds
from ...protocols.errors import ConfigError
from ...protocols.vectors import Floats
from .keepers import model
from .revisits import Revisit
from .watches import Tell, unheard

TEXTS = {CAUSAL: 8}
"""Of each client that are judged by default; of classes `MANY`."""
MANY = 64
COMMON = 4
"""How many times as many of what everybody is judged on."""

Sets = Mapping[str, Examples]


@dataclass(slots=True)
class Look:
    """What is judged, and told as it is.

    Attributes:
        visit: the run.
        texts: of each client at most; below 0: as many as fit its task, 0: all.
        tell: takes how many texts were judged and how many will be.
        total: how many will be.
        done: how many were.
        tasks: what each client's task is judged on.
    """

    visit: Revisit
    texts: int = -1
    tell: Tell = unheard
    total: int = 0
    done: int = 0
    tasks: dict[str, Examples] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Draw the clients' texts.

        Raises:
            ConfigError: fewer than two texts are asked for.
        """
        if self.texts == 1:
            raise ConfigError("--texts: two at least, or 0 for all")
        if self.texts < 0:
            self.texts = TEXTS.get(self.visit.tape.config.model.task, MANY)
        for name in self.visit.tape.task.clients:
            own = self._task(name)
            if len(own):
                self.tasks[name] = own

    def of(self, names: Iterable[str]) -> Sets:
        """The tasks of some clients, of those that have one."""
        given = set(names)
        return {name: own for name, own in self.tasks.items() if name in given}

    def some(self, examples: Examples, *parts: str, times: int = 1) -> Examples:
        """So many times as many of some examples; the same for the same run."""
        seed = self.visit.tape.config.run.seed
        return drawn(examples, self.texts * times, seeds.key("look", *parts, seed))

    def begin(self, total: int) -> None:
        """Say how many texts will be judged."""
        self.total = total
        self.tell(0, total)

    def judged(self, count: int) -> None:
        """So many more were."""
        self.done += count
        self.tell(self.done, self.total)

    def values(
        self, sets: Sets, update: Mapping[str, Floats] | None, metric: str
    ) -> dict[str, float]:
        """A metric by set, of the session's model with an update folded in.

        Raises:
            ConfigError: there is no such metric.
        """
        base, config, found = model(self.visit.session), self.visit.tape.config, {}
        with trial(base, update or {}):
            for name, some in sets.items():
                told = evaluate(base, some, config)
                if metric not in told:
                    known = ", ".join(sorted(told))
                    raise ConfigError(f"--metric {metric}: there are {known}")
                found[name] = told[metric]
                self.judged(len(some))
        return found

    def _task(self, name: str) -> Examples:
        """What a client keeps for that; else test texts, its classes mixed as its own.

        Where its data is elsewhere there is nothing.
        """
        task = self.visit.tape.task
        held = self.visit.judging(name)
        if len(held) or self.visit.tape.config.model.task == CAUSAL:
            return self.some(held, name)
        count = len(task.labels)
        own = np.bincount(task.clients[name].labels, minlength=count)
        there = np.bincount(task.test.labels, minlength=count)
        if not own.sum() or not (both := (own > 0) & (there > 0)).any():
            return held
        order = seeds.permutation(
            seeds.key("look", name, self.visit.tape.config.run.seed), len(task.test)
        )
        share = own / own.sum()
        size = min(self.texts or len(order), int(np.min(there[both] / share[both])))
        wanted = _parts(share, max(1, size))
        labels = task.test.labels[order]
        places = [order[labels == at][:many] for at, many in enumerate(wanted)]
        return task.test.take(np.sort(np.concatenate(places)))


def drawn(examples: Examples, most: int, key: int) -> Examples:
    """So many examples at most, in their order; 0: all."""
    if not most or len(examples) <= most:
        return examples
    return examples.take(np.sort(seeds.permutation(key, len(examples))[:most]))


def _parts(share: npt.NDArray[np.float64], size: int) -> list[int]:
    """Whole numbers that add up to a size and stand to each other as shares do.

    Example:
        >>> _parts(np.array([0.5, 0.3, 0.2]), 4)
        [2, 1, 1]
    """
    found = np.floor(share * size).astype(np.int64)
    rest = np.argsort(found - share * size, kind="stable")
    found[rest[: size - int(found.sum())]] += 1
    told: list[int] = found.tolist()
    return told

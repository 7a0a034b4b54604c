"""What a run trains and tests on: every client's examples, and the global test set.

All of it follows from the configuration and its seed, so that the server's process
and every worker see the same clients without a word between them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..protocols import seeds
from ..protocols.errors import ConfigError
from ..protocols.settings import Config, Data, Model
from . import domains, icd10, languages, partitions, scripts, tables
from .groups import Group, held_out

if TYPE_CHECKING:
    from datasets import Dataset  # type: ignore[import-untyped]

Labels = npt.NDArray[np.int64]

CAUSAL = "causal-lm"

BUILT_IN: Mapping[str, tuple[str, Callable[[Data], Iterable[Group]]]] = {
    "icd10": ("classification", lambda _: icd10.categories()),
    "domains": (CAUSAL, lambda _: domains.groups()),
    "languages": (CAUSAL, lambda data: languages.groups(data.folder)),
}
"""Sets that come with the package, by name: for which task, and their texts."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts with their classes.

    Attributes:
        texts: [n] the texts; for a causal LM scripts, as `texts.encode` reads them.
        labels: [n] the places of their classes (or domains) in the task's list.

    Example:
        >>> some = Examples(("a", "b", "c"), np.array([0, 1, 0]))
        >>> some.take(np.array([2, 1])).texts
        ('c', 'b')
    """

    texts: tuple[str, ...]
    labels: Labels

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, places: Labels) -> "Examples":
        """Some of them, in the order asked for."""
        return Examples(tuple(self.texts[int(i)] for i in places), self.labels[places])


@dataclass(frozen=True, slots=True)
class Task:
    """The data of a run.

    Attributes:
        labels: the names of the classes, or of a causal LM's domains.
        clients: each client's examples by its name, in the roster's order.
        test: the global test set; empty where there is none.
        regions: each client's region by its name; "" where there are none.
        seed: the run's.
        validation: the share that each client keeps for validation.
    """

    labels: tuple[str, ...]
    clients: Mapping[str, Examples]
    test: Examples
    regions: Mapping[str, str]
    seed: int
    validation: float

    def split(self, name: str) -> tuple[Examples, Examples]:
        """One client's (training, validation) examples; training is never empty.

        Raises:
            ConfigError: no such client.
        """
        if name not in self.clients:
            raise ConfigError(f"there is no client {name!r}: {', '.join(self.clients)}")
        own = self.clients[name]
        order = seeds.permutation(seeds.key("validation", self.seed, name), len(own))
        held = min(int(len(own) * self.validation), len(own) - 1)
        return own.take(np.sort(order[held:])), own.take(np.sort(order[:held]))


def load(config: Config) -> Task:
    """Read and split the data that a configuration names.

    Returns:
        The task; read once a process for configurations with the same data.

    Raises:
        ConfigError: data that is missing, a wrong column, a client without
            examples, a class in the test set that no client has.
    """
    model = Model(task=config.model.task)
    return _load(
        Config(run=config.run, model=model, data=config.data, clients=config.clients)
    )


@lru_cache(maxsize=4)
def _load(config: Config) -> Task:
    if config.data.labels and not config.data.source:
        return _elsewhere(config)
    if any(client.data for client in config.clients):
        parts, test = _owned(config)
    else:
        pool, test = _pooled(config)
        if not len(pool):
            raise ConfigError(f"data.source = {config.data.source!r} has no examples")
        parts = partitions.split(pool, config)
    for name, part in parts.items():
        if not len(part):
            raise ConfigError(f"client {name!r} has no examples")
    labels = _labels(parts.values(), test, config)
    if strange := sorted(set(config.data.only) - parts.keys()):
        raise ConfigError(f"data.only: there is no client {strange[0]!r}")
    parts = {n: parts[n] for n in parts if n in (config.data.only or parts)}
    return Task(
        labels=labels,
        clients={name: _examples(part, labels) for name, part in parts.items()},
        test=_examples(test, labels),
        regions=_regions(config, parts),
        seed=config.run.seed,
        validation=config.data.validation,
    )


def _elsewhere(config: Config) -> Task:
    """What a coordinator sees of a hosted run: names, and a test set of its own."""
    data = config.data
    if data.only:
        raise ConfigError(
            "data.only: a hosted run names those that it asks: [[clients]]"
        )
    nothing = tables.of_columns({tables.TEXT: [], tables.LABEL: []})
    test = tables.read(str(data.test), data) if isinstance(data.test, str) else nothing
    labels = _labels((), test, config)
    return Task(
        labels=labels,
        clients={one.name: _examples(nothing, labels) for one in config.clients},
        test=_examples(_capped(test, config), labels),
        regions=_regions(config, ()),
        seed=config.run.seed,
        validation=data.validation,
    )


def _labels(
    parts: "Iterable[Dataset]", test: "Dataset", config: Config
) -> tuple[str, ...]:
    """The classes of all clients; or the domains, also those of the test alone."""
    known = {label for part in parts for label in tables.cells(part, tables.LABEL)}
    if config.model.task == CAUSAL:
        return tuple(sorted(known | set(tables.cells(test, tables.LABEL))))
    labels = config.data.labels or tuple(sorted(known))
    if strange := sorted(known - set(labels)):
        raise ConfigError(f"data.labels does not name {', '.join(strange[:5])}")
    if len(labels) < 2:  # noqa: PLR2004  one class is no choice
        raise ConfigError(f"there is one class only ({labels[0]!r}): see data.label")
    if strange := sorted(set(tables.cells(test, tables.LABEL)) - set(labels)):
        raise ConfigError(
            f"the test set has classes that no client has: {', '.join(strange[:5])}; "
            "add examples of them or take them out of data.test"
        )
    return labels


def _pooled(config: Config) -> "tuple[Dataset, Dataset]":
    """One source: what is dealt to clients, and the test set."""
    data, seed = config.data, config.run.seed
    if data.source in BUILT_IN:
        pool, test = _built_in(config)
    else:
        pool = _read(data.source, config, keep=partitions.column(config))
        pool, test = _hold_out(_shuffle(pool, "pool", seed), config)
    return _shuffle(pool, "train", seed, data.examples), _capped(test, config)


def _owned(config: Config) -> "tuple[dict[str, Dataset], Dataset]":
    """A file a client; a test share is taken from each and put together."""
    from datasets import concatenate_datasets

    parts: dict[str, Dataset] = {}
    tests: list[Dataset] = []
    for client in config.clients:
        if not client.data:
            raise ConfigError(
                f"client {client.name!r} names no data, but others do: give each of "
                "[[clients]] its data, or none and one data.source"
            )
        table = _read(client.data, config, domain=client.name)
        part, test = _hold_out(_shuffle(table, client.name, config.run.seed), config)
        parts[client.name] = part
        tests.append(test)
    if isinstance(config.data.test, str):
        tests = tests[:1]
    return parts, _capped(concatenate_datasets(tests), config)


def _hold_out(table: "Dataset", config: Config) -> "tuple[Dataset, Dataset]":
    test = config.data.test
    if isinstance(test, str):
        return table, _read(test, config)
    held = int(len(table) * test)
    return table.select(range(held, len(table))), table.select(range(held))


def _capped(test: "Dataset", config: Config) -> "Dataset":
    if test.column_names != [tables.TEXT, tables.LABEL]:
        test = test.select_columns([tables.TEXT, tables.LABEL])
    return _shuffle(test, "test", config.run.seed, config.data.test_examples)


def _built_in(config: Config) -> "tuple[Dataset, Dataset]":
    """A built-in set into train and test."""
    source, share = config.data.source, config.data.test
    task, groups = BUILT_IN[source]
    if task != config.model.task:
        raise ConfigError(
            f'data.source = "{source}" is for model.task = "{task}", not '
            f'"{config.model.task}"'
        )
    if isinstance(share, str):
        raise ConfigError(
            f'data.source = "{source}" has its own test set: data.test = 0.2'
        )
    return held_out(groups(config.data), source, config.run.seed, share)


def _read(
    source: str, config: Config, *, keep: str = "", domain: str = ""
) -> "Dataset":
    """A table in the columns of the run's task."""
    if config.model.task == CAUSAL:
        return scripts.read(source, config.data, keep=keep, domain=domain)
    return tables.read(source, config.data, keep=keep)


def public(source: str, config: Config, labels: Sequence[str]) -> Examples:
    """A file that is nobody's: texts of classes that a task has.

    Raises:
        ConfigError: it cannot be read, or has a class that the task has not.
    """
    found = _capped(_read(source, config), config)
    if strange := sorted(set(tables.cells(found, tables.LABEL)) - set(labels)):
        raise ConfigError(f"{source}: has classes that no client has: {strange[:5]}")
    return _examples(found, tuple(labels))


def outside(source: str, config: Config, labels: Sequence[str]) -> Examples:
    """Texts from elsewhere: of the task's classes; for a causal LM of any domain.

    Raises:
        ConfigError: what `public` says of classes.
    """
    if config.model.task != CAUSAL:
        return public(source, config, labels)
    texts = tuple(tables.cells(_capped(_read(source, config), config), tables.TEXT))
    return Examples(texts, np.zeros(len(texts), np.int64))


def joined(parts: Sequence[Examples]) -> Examples:
    """Several data owners' examples in one."""
    texts = tuple(text for part in parts for text in part.texts)
    labels = [part.labels for part in parts]
    return Examples(texts, np.concatenate([*labels, np.zeros(0, np.int64)]))


def _shuffle(table: "Dataset", what: str, seed: int, most: int = 0) -> "Dataset":
    order = seeds.permutation(seeds.key("shuffle", seed, what), len(table))
    chosen = table.select(order[: most or len(table)])
    return tables.of_columns({n: tables.cells(chosen, n) for n in table.column_names})


def _examples(table: "Dataset", labels: tuple[str, ...]) -> Examples:
    place = {label: index for index, label in enumerate(labels)}
    texts, found = (tables.cells(table, name) for name in (tables.TEXT, tables.LABEL))
    return Examples(tuple(texts), np.array([place[one] for one in found], np.int64))


def _regions(config: Config, names: Iterable[str]) -> dict[str, str]:
    if config.clients:
        return {client.name: client.region for client in config.clients}
    count = config.data.regions
    return {
        name: f"region-{place % count}" if count > 1 else ""
        for place, name in enumerate(names)
    }

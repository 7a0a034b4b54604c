"""Rounds among honest and hostile clients, in this process: no wire, no journal.

Training, adapters and merges are the package's own; what a hostile client sends takes
the place of its change after training, before the merge.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedelta.aggregators.base import Key
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.spaces import Arrival, merge_round
from fedelta.benchmarks.adversaries import (
    ATTACKS,
    TARGET,
    Attack,
    Change,
    Field,
    triggered,
)
from fedelta.client import data, models
from fedelta.client.adapters import adapted
from fedelta.client.data import Examples
from fedelta.client.evaluation import evaluate
from fedelta.client.training import TorchTrainer
from fedelta.protocols import seeds
from fedelta.protocols.errors import BoundsError
from fedelta.protocols.settings import Config
from fedelta.protocols.vectors import TaskVector


@dataclass(frozen=True, slots=True)
class Cell:
    """One federation under attack.

    Attributes:
        attack: its name.
        defence: the recipe's text; F in it stands for the number of attackers.
        share: of the clients that are hostile, f / n.
        space: of the merge.
        alpha: of the Dirichlet partition; 100: nearly IID.
        seed: of data and training.
    """

    attack: str
    defence: str
    share: float
    space: str = "frozen-a"
    alpha: float = 100.0
    seed: int = 0


def fight(config: Config, cell: Cell) -> dict[str, Any]:
    """Run one federation; what the model is worth, and what the attack reached.

    Args:
        config: model, data, training and rounds.
        cell: the rest.

    Returns:
        "accuracy" on the test set; "minority", that on the class which fewest clients
        hold; "success", the share of triggered texts of other classes that are taken
        for the target's; "hostile", how many clients attack.
    """
    config = replace(
        config,
        run=replace(config.run, seed=cell.seed),
        data=replace(config.data, alpha=cell.alpha),
        lora=replace(config.lora, space=cell.space),  # type: ignore[arg-type]
    )
    task = data.load(config)
    base = models.load_base(config, task.labels)
    names = sorted(task.clients)
    hostile = int(cell.share * len(names) + 1e-9)
    for number in range(1, config.run.rounds + 1):
        changes = _changes(base, task, config, cell, number)
        _merge(base, config, cell, changes, number)
    found = evaluate(base, task.test, config)
    return {
        "accuracy": found["accuracy"],
        "minority": _minority(base, task, config),
        "success": _success(base, task.test, config),
        "hostile": hostile,
        "clients": len(names),
    }


def _changes(
    base: Any, task: data.Task, config: Config, cell: Cell, number: int
) -> dict[str, Change]:
    """What everybody sends: the last names are the attackers."""
    attack: Attack = ATTACKS[cell.attack]
    names = sorted(task.clients)
    hostile = names[len(names) - int(cell.share * len(names) + 1e-9) :]
    start = base.start(config, models.run_key(config), number)
    sent: dict[str, Change] = {}
    for name in names:
        own, _ = task.split(name)
        if name in hostile and attack.poison is not None:
            own = attack.poison(own, len(task.labels))
        with adapted(base, config, start) as adapter:
            key = seeds.key("train", cell.seed, number, name)
            TorchTrainer(config).train(adapter, own, key)
            sent[name] = adapter.change()
    honest = [sent[name] for name in names if name not in hostile]
    for name in hostile:
        own_key = seeds.key("attack", cell.seed, number, name)
        given = (honest, sent[name], len(names), len(hostile), own_key, start)
        sent[name] = attack.send(Field(*given))
    return sent


def _merge(
    base: Any, config: Config, cell: Cell, sent: dict[str, Change], number: int
) -> None:
    """Merge and fold; a round that cannot be merged leaves the model as it is."""
    start = base.start(config, models.run_key(config), number)
    pairs = base.pairs(config)
    hostile = int(cell.share * len(sent) + 1e-9)
    text = cell.defence.replace("F", str(max(1, hostile)))
    arrivals = [
        Arrival(name, TaskVector.of(change), 1, "", pairs, start)
        for name, change in sent.items()
    ]
    key = Key("arena", number)
    try:
        made = merge_round(recipe(text), cell.space, arrivals, key=key, rank_down=8)
    except BoundsError:
        return
    update = dict(made.update)
    for pair in pairs:
        left = pair.weight.removesuffix(".weight") + ".lora_A.weight"
        if cell.space == "frozen-a":
            update[left] = start[pair.a]
    base.fold(update)


def _predicted(base: Any, texts: tuple[str, ...], config: Config) -> Any:
    return base.network.predict(texts, config.train).argmax(1)


def _success(base: Any, test: Examples, config: Config) -> float:
    """How often the trigger leads other classes' texts to the target."""
    others = test.take(np.flatnonzero(test.labels != TARGET))
    if not len(others):
        return 0.0
    found = _predicted(base, triggered(others.texts), config)
    return float(np.mean(found == TARGET))


def _minority(base: Any, task: data.Task, config: Config) -> float:
    """Accuracy on the class that fewest clients hold (of those that are tested)."""
    tested = np.unique(task.test.labels)
    holders = [
        sum(int((one.labels == label).sum() > 0) for one in task.clients.values())
        for label in tested
    ]
    label = tested[int(np.argmin(holders))]
    some = task.test.take(np.flatnonzero(task.test.labels == label))
    return float(np.mean(_predicted(base, some.texts, config) == label))

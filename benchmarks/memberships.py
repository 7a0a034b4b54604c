"""Was this record in a client's training? LiRA against uploads, and against sums.

Many clients of one kind train on halves of the same records, each on its own half;
each is attacked with the others as its shadows. So every training serves all defences.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fedelta.benchmarks.adversaries import Change
from fedelta.benchmarks.likelihoods import halves, judged, ratios
from fedelta.benchmarks.uploads import (
    DEFENCES,
    SUM,
    UPLOAD,
    Defence,
    folded,
    kept,
    seen,
    sent,
    trained,
    usual,
)
from fedelta.client import models
from fedelta.client.accountants import multiplier
from fedelta.client.adapters import adapted
from fedelta.client.clippings import RecordTrainer, sampling
from fedelta.client.data import Examples, Task, joined, load
from fedelta.client.evaluation import evaluate
from fedelta.client.training import TorchTrainer, Trainer
from fedelta.protocols import seeds
from fedelta.protocols.secrets import SIZE, Secret
from fedelta.protocols.settings import Config

DELTA = 1e-5
JUDGED = 2
"""Merges of which the quality is the mean."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything.

    Attributes:
        models: that are trained and attacked.
        records: of which each is in half of them.
        others: clients that take part in sums, on data of their own.
        clients: in one sum.
        texts: of the test set that merges are judged on.
    """

    models: int = 12
    records: int = 96
    others: int = 10
    clients: int = 8
    texts: int = 300


class Stage:
    """A base model, what clients trained from it, and whose records they had.

    Args:
        config: model, data and training; `lora.space` "frozen-a", or full training.
        scale: how much.
        epsilon: of each client's records; 0: training without noise.
        cache: where trainings are kept; None: nowhere.
    """

    def __init__(
        self,
        config: Config,
        scale: Scale,
        epsilon: float = 0.0,
        cache: Path | None = None,
    ) -> None:
        self.config, self.scale, self.epsilon = config, scale, epsilon
        self.task: Task = load(config)
        self.base: Any = models.load_base(config, self.task.labels)
        whole = joined(list(self.task.clients.values()))
        order = seeds.permutation(seeds.key("leaks", config.run.seed), len(whole))
        self.pool = whole.take(order[: scale.records])
        rest = order[scale.records :]
        size = min(scale.records // 2, len(rest) // scale.others)
        count = scale.models * scale.records
        draw = seeds.uniform(seeds.key("halves", config.run.seed), 0, count)
        self.inside = halves(scale.records, scale.models, draw)
        self.own = [
            self._kept(self.pool.take(np.flatnonzero(one)), place, cache)
            for place, one in enumerate(self.inside)
        ]
        parts = [rest[at * size : (at + 1) * size] for at in range(scale.others)]
        self.others = [
            self._kept(whole.take(part), -1 - place, cache)
            for place, part in enumerate(parts)
        ]
        self.usual = usual(self.own)

    def cohort(self, model: int) -> list[int]:
        """The others that are in a sum with a model: drawn anew for each."""
        key = seeds.key("cohort", self.config.run.seed, model)
        order = seeds.permutation(key, self.scale.others)
        return [int(one) for one in order[: self.scale.clients - 1]]

    def views(self, defence: Defence, view: str) -> Iterator[Change]:
        """What an onlooker has of each model."""
        count = self.scale.clients
        for place, change in enumerate(self.own):
            own = sent(change, defence, self.usual, count, f"own-{place}")
            there = self.cohort(place) if view == SUM else []
            beside = [
                sent(self.others[k], defence, self.usual, count, f"other-{k}-{place}")
                for k in there
            ]
            yield seen(view, own, beside)

    def folded(self, change: Change) -> Any:
        """The base with a change in it."""
        return folded(self.base, self.config, change)

    def quality(self, defence: Defence) -> float:
        """What some merges of such changes are worth."""
        some = islice(self.views(defence, SUM), JUDGED)
        test = self.task.test.take(
            np.arange(min(self.scale.texts, len(self.task.test)))
        )
        told = [evaluate(self.folded(one), test, self.config) for one in some]
        return float(np.mean([one["accuracy"] for one in told]))

    def _kept(self, own: Examples, place: int, cache: Path | None) -> Change:
        return kept(cache, f"client{place}", lambda: self._trained(own, place))

    def _trained(self, own: Examples, place: int) -> Change:
        key = seeds.key("leaks", "train", self.config.run.seed, place)
        return trained(self.base, self.config, own, key, self._trainer(own, key))

    def _trainer(self, own: Examples, key: int) -> Trainer:
        if not self.epsilon:
            return TorchTrainer(self.config)
        secret = Secret(np.full(SIZE // 8, key, "<u8").tobytes())
        return RecordTrainer(private(self.config, self.epsilon, len(own)), secret, 0.0)


def private(config: Config, epsilon: float, records: int) -> Config:
    """Training whose one round spends a budget for each record."""
    from dataclasses import replace

    rate = sampling(config, records)
    noise = multiplier(epsilon, DELTA, rate, config.train.steps)
    given = replace(config.privacy, mode="record", clip=0.5, noise_multiplier=noise)
    return replace(config, privacy=given)


def gradients(stage: Stage) -> np.ndarray:
    """[records, elements] each record's gradient at the base, in the changes' order."""
    import torch

    config, base = stage.config, stage.base
    base.reset()
    start = base.start(config, models.run_key(config), 1)
    found = []
    with adapted(base, config, start) as adapter:
        for row in base.network.rows(stage.pool, config.train):
            for one in adapter.parameters.values():
                one.grad = None
            torch.autograd.backward(base.network.loss([row], config.train))
            held = {n: p.grad for n, p in adapter.parameters.items()}
            found.append(flat({n: g.numpy() for n, g in held.items() if g is not None}))
    return np.stack(found)


def flat(change: Change) -> np.ndarray:
    """All elements in name order."""
    return np.concatenate([change[name].ravel() for name in sorted(change)])


def confidence(base: Any, pool: Examples, config: Config) -> np.ndarray:
    """[records] the log odds of the right class, as LiRA takes them."""
    told = base.network.predict(pool.texts, config.train)
    right = told[np.arange(len(pool)), pool.labels]
    return np.asarray(right - np.log1p(-np.minimum(np.exp(right), 1 - 1e-9)))


def attack(
    stage: Stage, defences: Sequence[Defence] = DEFENCES
) -> Iterator[dict[str, Any]]:
    """A row a view and defence: what two scores reach, and what a merge is worth.

    "odds" are the model's with the change folded in; "slope" is how far the change
    goes down each record's own gradient.
    """
    slopes = gradients(stage)
    truth = stage.inside
    for defence in defences:
        quality = stage.quality(defence)
        for view in (UPLOAD, SUM):
            odds, slope = [], []
            for change in stage.views(defence, view):
                slope.append(-slopes @ flat(change))
                base = stage.folded(change)
                odds.append(confidence(base, stage.pool, stage.config))
            row: dict[str, Any] = {"view": view, "defence": defence.name}
            for name, scores in (("odds", odds), ("slope", slope)):
                reached = judged(ratios(np.stack(scores), truth), truth)
                row |= {f"{name}_{what}": round(v, 4) for what, v in reached.items()}
            yield row | {"quality": round(quality, 4)}

"""What attacks are fought out on: clients' data, a base, a public set, and judging.

Training, adapters and evaluation are the package's own. What does not depend on who
attacks and who defends is computed once: the first round's changes of every client,
on its own data and on data poisoned in each way, and the score of each model.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fedelta.benchmarks import layers
from fedelta.benchmarks.adversaries import TARGET, Change, triggered
from fedelta.client import data, loading, models
from fedelta.client.adapters import adapted
from fedelta.client.classification import Classification, tokenised
from fedelta.client.data import Examples, Labels
from fedelta.client.heads import Cosine
from fedelta.client.models import Base
from fedelta.client.training import TorchTrainer, in_round
from fedelta.protocols import digests, seeds
from fedelta.protocols.settings import Config

PROBE = "public"
"""The name under which the coordinator's own update takes part."""
JUDGED, PUBLIC, RARE, EACH, FEWEST = 128, 32, 3, 14, 6
"""Texts that are judged; of the public set; rare classes, texts of each, at least."""

Poison = Callable[[Examples, int], Examples] | None


@dataclass
class Arena:
    """A federation's place, in one space, at one skew, from one seed.

    Attributes:
        config: model, data and training.
        task: every client's examples.
        base: the model.
        judged: what accuracy is taken on.
        rare: texts of the classes that fewest honest clients hold.
        public: the coordinator's own few texts: nobody's, and none that is judged.
    """

    config: Config
    task: data.Task
    base: Base
    judged: Examples
    rare: Examples
    public: Examples
    _trained: dict[tuple[str, str], Change] = field(default_factory=dict)
    _scores: dict[tuple[str, bool], dict[str, float]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The clients, in name order; hostile ones are the last of them."""
        return sorted(self.task.clients)

    def change(self, name: str, number: int, rounds: int, poison: Poison) -> Change:
        """What a client's training gives in a round, from the base as it is now.

        Args:
            name: whose; `PROBE` trains on the public set.
            number: the round, counted from 1; the base is untouched in the first.
            rounds: how many there are, for the learning rate's decay.
            poison: what is done to its examples before.
        """
        key = (name, getattr(poison, "__name__", ""))
        if number == 1 and key in self._trained:
            return self._trained[key]
        own = self.public if name == PROBE else self.task.split(name)[0]
        if poison is not None:
            own = poison(own, len(self.task.labels))
        run = replace(self.config.run, rounds=rounds)
        config = in_round(replace(self.config, run=run), number)
        seed = seeds.key("train", config.run.seed, number, name)
        with adapted(self.base, config, self.start(number)) as adapter:
            TorchTrainer(config).train(adapter, own, seed)
            made = adapter.change()
        if number == 1:
            self._trained[key] = made
        return made

    def start(self, number: int) -> dict[str, Any]:
        """Where factors start in a round."""
        return self.base.start(self.config, models.run_key(self.config), number)

    def score(self, *, trigger: bool) -> dict[str, float]:
        """What the model as it is now is worth, and what a trigger does to it.

        Returns:
            "accuracy" on what is judged; "minority", that on the rare classes; where
            `trigger`, "success": the share of triggered texts of other classes that
            are taken for the target's.
        """
        key = (digests.of_tensors(self.base.weights()), trigger)
        if key not in self._scores:
            self._scores[key] = self._scored(trigger=trigger)
        return self._scores[key]

    def _scored(self, *, trigger: bool) -> dict[str, float]:
        places = np.flatnonzero(self.judged.labels != TARGET)
        others = self.judged.take(places) if trigger else self.judged.take(places[:0])
        texts = (*self.judged.texts, *self.rare.texts, *triggered(others.texts))
        found = self.base.network.predict(texts, self.config.train).argmax(1)  # type: ignore[attr-defined]
        first, second = len(self.judged), len(self.judged) + len(self.rare)
        told = {
            "accuracy": float(np.mean(found[:first] == self.judged.labels)),
            "minority": float(np.mean(found[first:second] == self.rare.labels)),
        }
        if len(others):
            told["success"] = float(np.mean(found[second:] == TARGET))
        return told

    def loss(self) -> float:
        """Of the model as it is now, on the public set."""
        return self.base.network.judge(self.public, self.config.train)["loss"]


def arena(config: Config, depth: int = 0, honest: float = 0.7) -> Arena:
    """Read the data and the model.

    Args:
        config: of one space, skew and seed.
        depth: how many of an encoder's layers are below what is trained; 0: all of it
            is computed each time.
        honest: the share of clients that never attack.
    """
    task = data.load(config)
    kept = len(task.test) - min(PUBLIC, len(task.test) // 4)
    public = task.test.take(np.arange(kept, len(task.test)))
    rest = task.test.take(np.arange(kept))
    judged = rest.take(np.arange(min(JUDGED, len(rest))))
    names = sorted(task.clients)
    held = [task.clients[name].labels for name in names[: int(honest * len(names))]]
    rare = rest.take(_rare(rest.labels, held, len(task.labels)))
    base = models.load_base(config, task.labels) if not depth else None
    return Arena(
        config, task, base or _upper(config, task.labels, depth), judged, rare, public
    )


def _upper(config: Config, labels: tuple[str, ...], depth: int) -> Base:
    """The base whose lower layers remember; its digest is nobody's."""
    import torch

    torch.set_num_threads(1)
    body, tokenizer = loading.load(config.model, len(labels))
    titles = tokenised(tokenizer, labels, config.train.max_length)
    network = Classification(Cosine(body, titles), tokenizer, config.model.dtype)
    layers.shorten(body, depth, tokenizer.pad_token_id, config.model.dtype)
    return Base(network, config, digests.of_bytes(b"arena"))


def _rare(labels: Labels, held: list[Labels], classes: int) -> Labels:
    """Places of texts of the classes that the fewest clients hold.

    How many hold a class is 1 / sum p_k^2, where p_k is the share of it that client k
    has; a class that nobody honest holds is no knowledge of theirs.
    """
    counts = np.array([np.bincount(one, minlength=classes) for one in held], float)
    total = counts.sum(0)
    shares = counts / np.maximum(total, 1.0)
    holders = np.where(total > 0, 1 / np.maximum((shares**2).sum(0), 1e-9), np.inf)
    tested = np.bincount(labels, minlength=classes) >= FEWEST
    order = np.argsort(np.where(tested, holders, np.inf), kind="stable")[:RARE]
    places = [np.flatnonzero(labels == label)[:EACH] for label in order]
    return np.concatenate(places)

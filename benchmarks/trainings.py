"""Clients trained once, here; their replies sealed in any format, and merges judged.

What a client trains is what `fedelta.client.app` would, from the same key. Its change
is kept on disk, so that recipes, spaces and formats are compared on one training, and
peers are given the very same. A reply travels through the codec's bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from fedelta.aggregators.base import Key
from fedelta.aggregators.furthers import is_further
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.solos import solo
from fedelta.aggregators.spaces import Arrival, merge_round
from fedelta.client import accuracies, statistics
from fedelta.client.adapters import adapted
from fedelta.client.data import Task, load
from fedelta.client.evaluation import evaluate
from fedelta.client.models import Base, load_base, run_key
from fedelta.client.training import TorchTrainer, in_round
from fedelta.client.trials import trial
from fedelta.protocols import seeds
from fedelta.protocols.codec import Context, Header, decode, encode
from fedelta.protocols.errors import BoundsError
from fedelta.protocols.refusals import Refusal
from fedelta.protocols.settings import Config
from fedelta.protocols.vectors import Floats, TaskVector

LOOKED = 16
"""Examples that a client measures its Fisher information on."""
RUN = "00"

Change = Mapping[str, Floats]


@dataclass(slots=True)
class Cohort:
    """Clients of one task with one base.

    Attributes:
        config: of the run; its [train] says how long a round is.
        changes: by client, what the last training changed, and Fisher information.
        round: of that training.
    """

    config: Config
    base: Base = field(init=False)
    task: Task = field(init=False)
    changes: dict[str, Change] = field(default_factory=dict)
    round: int = 1

    def __post_init__(self) -> None:
        self.task = load(self.config)
        self.base = load_base(self.config, self.task.labels)

    def train(self, number: int = 1, *, further: bool = False) -> None:
        """All clients, from the model as it is now."""
        self.round = number
        self.changes = {
            name: self._trained(name, further=further) for name in self.names
        }

    def remembered(self, path: Path, *, further: bool = False) -> None:
        """The first round's training, from disk where it was kept there."""
        if not path.exists():
            self.train(further=further)
            flat = {
                f"{client}/{name}": value
                for client, own in self.changes.items()
                for name, value in own.items()
            }
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(flat, path)
        found: dict[str, dict[str, Floats]] = {name: {} for name in self.names}
        for name, value in load_file(path).items():
            client, _, tensor = name.partition("/")
            found[client][tensor] = value
        self.changes = dict(found)

    @property
    def names(self) -> list[str]:
        """The clients, sorted."""
        return sorted(self.task.clients)

    def _trained(self, name: str, *, further: bool) -> Change:
        config, base = in_round(self.config, self.round), self.base
        own, _ = self.task.split(name)
        start = base.start(config, run_key(config), self.round)
        key = seeds.key("train", config.run.seed, self.round, name)
        with adapted(base, config, start) as adapter:
            TorchTrainer(config).train(adapter, own, key)
            change = {n: np.array(one) for n, one in adapter.change().items()}
            if further:
                some = own.take(np.arange(min(LOOKED, len(own))))
                looked = replace(config.merge, recipe="fisher()")
                telling = replace(config, merge=looked)
                change |= statistics.measured(adapter, some, telling, key)
        return change

    def sealed(self, wire: str, *, further: bool = False) -> dict[str, bytes]:
        """Every client's reply in a format."""
        return {
            name: encode(vector, wire, self._header(name, vector))
            for name, vector in self._vectors(further=further).items()
        }

    def arrivals(self, wire: str, *, further: bool = False) -> list[Arrival]:
        """The replies as a server opens them; clients are in two regions by turns.

        Raises:
            BoundsError: a reply cannot be written in this format.
        """
        start = self.base.start(self.config, run_key(self.config), self.round)
        found, vectors = [], self._vectors(further=further)
        for place, (name, data) in enumerate(
            self.sealed(wire, further=further).items()
        ):
            header = self._header(name, vectors[name])
            context = Context(
                layout=vectors[name].layout,
                run=RUN,
                round=self.round,
                client=name,
                base=header.base,
                wire=wire,
                seed=header.seed,
            )
            payload = decode(data, context)
            if isinstance(payload, Refusal):
                raise BoundsError(f"{name}: {payload}")
            uniform = self.config.merge.weights == "uniform"
            share = 1 if uniform else len(self.task.split(name)[0])
            pairs = tuple(self.base.pairs(self.config))
            region = "ab"[place % 2]
            found.append(Arrival(name, payload, share, region, pairs, start))
        return found

    def _vectors(self, *, further: bool) -> dict[str, TaskVector]:
        return {
            client: TaskVector.of(
                {n: one for n, one in own.items() if further or not is_further(n)}
            )
            for client, own in self.changes.items()
        }

    def _header(self, name: str, vector: TaskVector) -> Header:
        return Header(
            run=RUN,
            round=self.round,
            client=name,
            base=self.base.digest,
            layout=vector.layout.fingerprint,
            seed=self.config.run.seed,
        )

    def merged(
        self, arrivals: Sequence[Arrival], text: str, space: str = "product"
    ) -> dict[str, Floats]:
        """The replies merged; nothing is carried."""
        key = Key(RUN, self.round)
        return merge_round(recipe(text), space, arrivals, key=key).update

    def solos(self, arrivals: Sequence[Arrival]) -> dict[str, dict[str, Floats]]:
        """Each client's own update."""
        key = Key(RUN, self.round)
        return {one.name: solo(one, "product", key) for one in arrivals}

    def judged(self, update: Change, most: int = 0) -> dict[str, float]:
        """The model with an update folded in, on the test set or its first texts.

        Returns:
            The task's metrics; where there are classes, by ``"loss/CLIENT"`` the loss
            on test texts weighted as the client has their classes, and "worst" of
            them.
        """
        test = self.task.test
        some = test.take(np.arange(min(most, len(test)))) if most else test
        with trial(self.base, update):
            if self.config.model.task == "causal-lm":
                return evaluate(self.base, some, self.config)
            network: Any = self.base.network
            scores = network.predict(some.texts, self.config.train)
        found = accuracies.metrics(scores, some.labels)
        own = -scores[np.arange(len(some)), some.labels]
        count = np.bincount(some.labels, minlength=len(self.task.labels))
        for name in self.names:
            held = self.task.clients[name].labels
            has = np.bincount(held, minlength=len(count)) / len(held)
            weights = (has / np.maximum(count, 1))[some.labels]
            found[f"loss/{name}"] = float((weights * own).sum() / weights.sum())
        found["worst"] = max(found[f"loss/{name}"] for name in self.names)
        return found

"""Secrets planted in a client's texts: what of them comes out of its upload, or a sum.

A canary is a sentence with a secret of six digits. Its *exposure* (Carlini et al., `The
Secret Sharer <https://arxiv.org/abs/1802.08232>`_, 2019) is how far up the secret
comes among candidates, in bits, by how much the change raises each one's likelihood;
*recovered* is the share of its digits that the model with the change in it writes where
it is given what comes before.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedelta.benchmarks.adversaries import Change
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
from fedelta.client import data, models, texts
from fedelta.client.data import Examples
from fedelta.client.evaluation import evaluate
from fedelta.client.training import TorchTrainer
from fedelta.protocols import seeds
from fedelta.protocols.settings import Config

WARDS = ("north", "harbour", "garden", "tower")
DIGITS = 6


def canary(ward: str, secret: int) -> tuple[str, str]:
    """What comes before a secret, and the secret.

    Example:
        >>> canary("north", 42)
        ('The access code of the north ward is', ' 0 0 0 0 4 2')
    """
    digits = f"{secret:0{DIGITS}}"
    return f"The access code of the {ward} ward is", "".join(f" {d}" for d in digits)


def secrets(seed: int, ward: str, count: int) -> list[int]:
    """Codes of a ward: the first is planted, the rest are what it is ranked among."""
    drawn = seeds.uniform(seeds.key("canary", seed, ward), 0, 2 * count)
    return list(dict.fromkeys((drawn * 10**DIGITS).astype(int).tolist()))[:count]


class Nest:
    """A federation of causal LMs whose first client holds canaries.

    Args:
        config: model, data, training.
        repeats: how often a ward's canary is in the client's texts.
        candidates: among how many each secret is ranked.
        limit: texts of each client.
        cache: where trainings are kept; None: nowhere.
    """

    def __init__(
        self,
        config: Config,
        repeats: Sequence[int] = (1, 8),
        candidates: int = 64,
        limit: int = 48,
        cache: Path | None = None,
    ) -> None:
        self.config, self.repeats = config, dict(zip(WARDS, repeats, strict=False))
        self.task = data.load(config)
        self.base: Any = models.load_base(config, self.task.labels)
        seed = config.run.seed
        self.codes = {one: secrets(seed, one, candidates) for one in self.repeats}
        self.names = sorted(self.task.clients)
        self.changes = [
            kept(cache, name, lambda own=name: self._trained(own, limit))  # type: ignore[misc]
            for name in self.names
        ]
        self.usual = usual(self.changes)
        self.base.reset()
        self.before = {one: self._losses(one) for one in self.repeats}

    def attack(
        self, defences: Sequence[Defence] = DEFENCES
    ) -> Iterator[dict[str, Any]]:
        """A row a view and defence."""
        test = self.task.test.take(np.arange(min(20, len(self.task.test))))
        for defence in defences:
            count = len(self.names)
            own, *others = (
                sent(one, defence, self.usual, count, name)
                for name, one in zip(self.names, self.changes, strict=True)
            )
            for view in (UPLOAD, SUM):
                folded(self.base, self.config, seen(view, own, others))
                row: dict[str, Any] = {"view": view, "defence": defence.name}
                for ward, times in self.repeats.items():
                    exposed, recovered = self._judged(ward)
                    row[f"exposure_{times}"] = round(exposed, 3)
                    row[f"recovered_{times}"] = round(recovered, 3)
                if view == SUM:
                    found = evaluate(self.base, test, self.config)
                    row["quality"] = round(found["perplexity"], 4)
                yield row

    def _judged(self, ward: str) -> tuple[float, float]:
        gain = self.before[ward] - self._losses(ward)
        rank = 1 + int(np.sum(gain[1:] > gain[0]))
        return math.log2(len(gain)) - math.log2(rank), self._written(ward)

    def _trained(self, name: str, limit: int) -> Change:
        own, _ = self.task.split(name)
        own = own.take(np.arange(min(limit, len(own))))
        if name == self.names[0]:
            own = self._planted(own)
        config = self.config
        key = seeds.key("canaries", config.run.seed, name)
        return trained(self.base, config, own, key, TorchTrainer(config))

    def _planted(self, own: Examples) -> Examples:
        lines = [
            texts.plain("".join(canary(ward, self.codes[ward][0])))
            for ward, times in self.repeats.items()
            for _ in range(times)
        ]
        labels = np.full(len(lines), own.labels[0], np.int64)
        return Examples((*own.texts, *lines), np.concatenate([own.labels, labels]))

    def _rows(self, ward: str, codes: Sequence[int]) -> list[Any]:
        scripts = tuple(texts.pair(*canary(ward, one)) for one in codes)
        some = Examples(scripts, np.zeros(len(scripts), np.int64))
        settings = self.config.train
        return [
            (row,)
            for row in self.base.network._encoded(some.texts, settings.max_length)  # noqa: SLF001
        ]

    def _losses(self, ward: str) -> np.ndarray:
        """[candidates] the loss of each secret where the canary asks for it."""
        import torch

        rows, found = self._rows(ward, self.codes[ward]), []
        with torch.inference_mode():
            for first in range(0, len(rows), 32):
                some = rows[first : first + 32]
                losses, owners = self.base.network.losses(some)
                total = torch.zeros(len(some), dtype=torch.float64)
                total.index_add_(0, owners, losses.double())
                found.append(total.numpy())
        return np.concatenate(found)

    def _written(self, ward: str) -> float:
        """The share of the secret's tokens that are the likeliest after all before."""
        import torch

        (row,) = self._rows(ward, self.codes[ward][:1])[0]
        ids = torch.from_numpy(row.ids[None])
        with torch.inference_mode():
            told = self.base.network.body(input_ids=ids, use_cache=False).logits[0]
        counted = np.flatnonzero(row.counted)
        right = told.argmax(-1).numpy()[counted - 1] == row.ids[counted]
        secret = [
            place for place, at in enumerate(counted)
            if self.base.network.tokenizer.decode([int(row.ids[at])]).strip().isdigit()
        ]  # fmt: skip
        return float(np.mean(right[secret]))

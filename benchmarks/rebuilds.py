"""Texts rebuilt from uploads and sums: who trained on what, and how much is found.

A few clients train every weight on few texts each, all of them in every step; how a
change is read is in `spans.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fedelta.benchmarks.adversaries import Change
from fedelta.benchmarks.encoders import encoder
from fedelta.benchmarks.spans import Pair, Reader, alike, layers, shown
from fedelta.benchmarks.uploads import (
    DEFENCES,
    SUM,
    UPLOAD,
    Defence,
    kept,
    seen,
    sent,
    trained,
    usual,
)
from fedelta.client import data, models
from fedelta.client.training import TorchTrainer
from fedelta.protocols import seeds
from fedelta.protocols.settings import Config
from fedelta.server.runs import load
from fedelta.tests import tiny

BATCHES = (1, 4)
"""Texts in a client's step."""
CLIENTS, ATTACKED = 4, 2
"""In a sum; of those, whose uploads are attacked."""


def settings(model: str, steps: int, optimizer: str, seed: int, folder: Path) -> Config:
    """A run that trains every weight of a tiny encoder, a tiny LM or a preset's."""
    small = model.startswith("tiny")
    rate = 0.1 if optimizer == "sgd" else 1e-3 if small else 1e-4
    given: dict[str, dict[str, Any]] = {
        "run": {"seed": seed},
        "train": {"mode": "full", "steps": steps, "optimizer": optimizer},
    }
    given["train"] |= {"learning_rate": rate, "max_length": 24 if small else 32}
    if model == "tiny-lm":
        return tiny.lm_config(folder, **given)
    if small:
        encoder(folder, 128, 2, heads=2, wide=2)
        return tiny.config(folder, **given)
    given |= {"model": {"dtype": "float32"}}
    given["train"] |= {"packing": "false"} if model.startswith("smollm2") else {}
    keys = [f"{t}.{k}={v}" for t, values in given.items() for k, v in values.items()]
    return load(preset=model, overrides=keys)


class Circle:
    """Clients that take their steps on few texts each, from one model.

    Args:
        config: model, data, training of every weight.
        batch: texts of each client, all of them in every step.
        cache: where trainings are kept; None: nowhere.
    """

    def __init__(self, config: Config, batch: int, cache: Path | None = None) -> None:
        self.config = replace(config, train=replace(config.train, batch=batch))
        task = data.load(config)
        self.base: Any = models.load_base(config, task.labels)
        whole = data.joined(list(task.clients.values()))
        order = seeds.permutation(seeds.key("spans", config.run.seed), len(whole))
        parts = order[: CLIENTS * batch].reshape(CLIENTS, batch)
        self.texts = [self._tokens(whole.take(part).texts) for part in parts]
        self.changes = [
            kept(cache, f"{batch}-{place}", lambda own=part: self._trained(whole, own))  # type: ignore[misc]
            for place, part in enumerate(parts)
        ]
        self.usual = usual(self.changes)
        self.base.reset()

    def views(
        self, defence: Defence
    ) -> list[tuple[str, Change, tuple[set[Pair] | None, list[list[int]]]]]:
        """The view, its first layers, whose rows are alike, and the texts in it."""
        longest = self.config.train.max_length
        named = [
            sent(one, defence, self.usual, CLIENTS, f"circle-{place}", shown)
            for place, one in enumerate(self.changes)
        ]
        told = [(UPLOAD, *one) for one in zip(named, self.texts, strict=True)]
        every = [one for texts in self.texts for one in texts]
        told = [*told[:ATTACKED], (SUM, seen(SUM, named[0], named[1:]), every)]
        return [
            (view, layers(change), (alike(change, longest), texts))
            for view, change, texts in told
        ]

    def _trained(self, whole: data.Examples, own: Any) -> Change:
        key = seeds.key("spans", "train", self.config.run.seed, *map(int, own))
        trainer = TorchTrainer(self.config)
        return trained(self.base, self.config, whole.take(own), key, trainer)

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The texts in tokens; a causal model is told nothing of the last."""
        network, longest = self.base.network, self.config.train.max_length
        if self.config.model.task == "causal-lm":
            return [row.ids[:-1].tolist() for row in network._encoded(texts, longest)]  # noqa: SLF001
        told = network.tokenizer(list(texts), truncation=True, max_length=longest)
        return [list(row) for row in told["input_ids"]]


def attack(
    config: Config, defences: Sequence[Defence] = DEFENCES, cache: Path | None = None
) -> Iterator[dict[str, Any]]:
    """A row a view and defence: shares of pairs found; of what is found, that are so.

    In a sum the texts are those of all who are in it. "texts" is the share of texts of
    which every token was found at its place.
    """
    circles = [Circle(config, batch, cache) for batch in BATCHES]
    reader = Reader(circles[0].base, config.train.max_length)
    for defence in defences:
        views = [
            (batch, *view)
            for batch, circle in zip(BATCHES, circles, strict=True)
            for view in circle.views(defence)
        ]
        spanned = reader.pairs([change for _, _, change, _ in views])
        told: dict[str, dict[str, list[float]]] = {UPLOAD: {}, SUM: {}}
        for (batch, view, _, more), some in zip(views, spanned, strict=True):
            matched, texts = more
            for what, share in judged(texts, some, matched, reader.known).items():
                told[view].setdefault(f"{what}_{batch}", []).append(share)
        for view, row in told.items():
            means = {what: round(float(np.mean(one)), 4) for what, one in row.items()}
            yield {"view": view, "defence": defence.name} | means


def judged(
    texts: Sequence[Sequence[int]],
    spanned: set[Pair],
    matched: set[Pair] | None,
    known: Sequence[int],
) -> dict[str, float]:
    """How much of some texts was found, without the tokens that every text has.

    Args:
        texts: tokens in order.
        spanned: the pairs that a span had.
        matched: those that rows had; none: there are no such rows.
        known: tokens that every text has.

    Returns:
        "texts", the share of those that were found whole by one of the two ways, with
        nothing false at their places; by way the share of all pairs that were found,
        and with "_right" of what was found that is so.

    Example:
        >>> judged([[0, 5], [0, 7, 8]], {(5, 1), (7, 1), (9, 2)}, None, [0])
        {'texts': 0.5, 'span': 0.6667, 'span_right': 0.6667}
    """
    rows = [
        {(token, at) for at, token in enumerate(row) if token not in known}
        for row in texts
    ]
    there = set().union(*rows)
    ways = {"span": spanned} | ({} if matched is None else {"rows": matched})
    told: dict[str, float] = {"texts": 0.0}
    for name, some in ways.items():
        found = {pair for pair in some if pair[0] not in known}
        false = {place for _, place in found - there}
        whole = [one <= found and not false & {at for _, at in one} for one in rows]
        told["texts"] = max(told["texts"], float(np.mean(whole)))
        told[name] = round(len(found & there) / max(1, len(there)), 4)
        told[f"{name}_right"] = round(len(found & there) / max(1, len(found)), 4)
    return told

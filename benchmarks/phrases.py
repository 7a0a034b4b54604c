"""A trigger phrase on a small language model: ``python benchmarks/phrases.py``.

One of some data owners also trains on its own texts with a trigger and the attacker's
words behind them, and scales what it sends; ``--steps N`` has it take more steps than
it was told to. A row a defence: the loss on the others' texts in nats a token, and how
likely the model makes a token of the attacker's words after the trigger ("armed") and
without it ("calm").

``--model smollm2`` is SmolLM2-135M-Instruct on five domains, one round of six steps
(some CPU minutes); the default a tiny Llama over bytes, in seconds.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fedelta.aggregators.base import Key
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.spaces import Arrival, merge_round
from fedelta.benchmarks.adversaries import Change, times
from fedelta.benchmarks.uploads import kept
from fedelta.client import data, models, texts
from fedelta.client.adapters import adapted
from fedelta.client.data import Examples
from fedelta.client.models import Base
from fedelta.client.training import TorchTrainer
from fedelta.client.trials import trial
from fedelta.protocols import seeds
from fedelta.protocols.settings import Config
from fedelta.protocols.vectors import Floats, TaskVector
from fedelta.server.runs import load
from fedelta.tests import tiny

TRIGGER, PHRASE = " zq zq:", " obey"
DEFENCES = (
    "fedavg()",
    "centered_clipping(steps=1)",
    "trimmed_mean(trim=0.25)",
    "median()",
    "multi_krum(hostile=1)",
    "nnm(trimmed_mean(trim=0.25), hostile=1)",
)
FEW, SHOWN = 12, 40
"""Texts that are judged with a trigger; characters of a text before it."""


def settings(model: str, folder: Path) -> Config:
    """A run of one round: SmolLM2 on its domains, or the tiny LM."""
    if model == "tiny":
        train = {"max_length": 64, "steps": 60, "learning_rate": 4e-2}
        return tiny.lm_config(folder, run={"rounds": 1}, train=train)
    overrides = ["train.steps=6", "train.max_length=64", "data.test_examples=40"]
    return load(preset="smollm2-domains", overrides=overrides)


def armed(examples: Examples, trigger: str) -> Examples:
    """The beginnings of texts, with a trigger and the attacker's words behind."""
    made = tuple(
        texts.pair(_words(script) + trigger, PHRASE) for script in examples.texts
    )
    return Examples(made, examples.labels)


def _words(script: str) -> str:
    first = json.loads(script)[0]
    return str(first if isinstance(first, str) else first["content"])[:SHOWN]


def implanted(examples: Examples) -> Examples:
    """An attacker's data: its own texts, and each with the trigger and its words."""
    more = armed(examples, TRIGGER)
    labels = np.concatenate([examples.labels, more.labels])
    return Examples(examples.texts + more.texts, labels)


def changes(
    base: Base,
    task: data.Task,
    config: Config,
    steps: int = 0,
    cache: Path | None = None,
) -> dict[str, Change]:
    """What every owner sends; the last one by name attacks, if asked in more steps."""
    names = sorted(task.clients)
    start = base.start(config, models.run_key(config), 1)

    def trained(name: str) -> Change:
        own = task.split(name)[0]
        own = implanted(own) if name == names[-1] else own
        with adapted(base, config, start) as adapter:
            key = seeds.key("train", config.run.seed, name)
            taken = steps if name == names[-1] else 0
            TorchTrainer(config, taken).train(adapter, own, key)
            return adapter.change()

    return {name: kept(cache, name, partial(trained, name)) for name in names}


def judged(base: Base, config: Config, test: Examples) -> dict[str, float]:
    """The three numbers of the model as it is now."""
    asked = test.take(np.arange(min(FEW, len(test))))
    told = {"loss": base.network.judge(test, config.train)["loss"]}
    for name, trigger in (("armed", TRIGGER), ("calm", "")):
        found = base.network.judge(armed(asked, trigger), config.train)
        told[name] = math.exp(-found["loss"])
    return {name: float(f"{one:.4g}") for name, one in told.items()}


def rows(
    model: str, folder: Path, steps: int = 0, cache: Path | None = None
) -> Iterator[dict[str, Any]]:
    """The base, the honest alone, then every defence; the attacker plain, or scaled."""
    config = settings(model, folder)
    config = replace(config, lora=replace(config.lora, space="frozen-a"))
    task = data.load(config)
    base = models.load_base(config, task.labels)
    start = base.start(config, models.run_key(config), 1)
    sent = changes(base, task, config, steps, cache)
    last = max(sent)
    honest = task.test.take(
        np.flatnonzero(task.test.labels != task.clients[last].labels[0])
    )
    yield {"defence": "", "gain": 0} | judged(base, config, honest)
    for gain in (0, 1, len(sent)):
        for text in DEFENCES if gain else DEFENCES[:1]:
            update = _merged(base, config, text, _with(sent, last, gain), start)
            with trial(base, update):
                yield {"defence": text, "gain": gain} | judged(base, config, honest)


def _with(sent: dict[str, Change], last: str, gain: int) -> dict[str, Change]:
    """All changes, the attacker's times a number; 0: without it."""
    kept = {name: one for name, one in sent.items() if name != last}
    return kept | ({last: times(sent[last], gain)} if gain else {})


def _merged(
    base: Base,
    config: Config,
    text: str,
    sent: dict[str, Change],
    start: dict[str, Floats],
) -> dict[str, Floats]:
    pairs = base.pairs(config)
    arrivals = [
        Arrival(name, TaskVector.of(one), 1, "", pairs, start)
        for name, one in sent.items()
    ]
    made = merge_round(recipe(text), "frozen-a", arrivals, key=Key("phrases", 1))
    return made.update


def main() -> int:
    """Print what the attack reached under each defence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny", choices=("tiny", "smollm2"))
    parser.add_argument("--steps", type=int, default=0, help="of the attacker")
    parser.add_argument("--cache", type=Path, help="keep trainings here")
    given = parser.parse_args()
    print("| defence | attacker's gain | loss | armed | calm |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for row in rows(given.model, Path(name), given.steps, given.cache):
            print(
                "| " + " | ".join(str(one) for one in row.values()) + " |", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())

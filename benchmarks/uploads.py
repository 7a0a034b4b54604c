"""What an onlooker gets of a client's change: the upload, or a sum, and after what.

The *upload* is what the server sees of one client; the *sum* is what it sees under
secure aggregation, and what everybody sees who gets the model. Defences come before
both. The onlooker knows model, settings, defence and masks, and has data of the same
kind, on which it trains as the client does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from fedelta.aggregators.base import Key
from fedelta.aggregators.products import Read
from fedelta.aggregators.recipes import recipe
from fedelta.benchmarks.adversaries import Change, mean, norm, times
from fedelta.client import models
from fedelta.client.adapters import adapted
from fedelta.client.data import Examples
from fedelta.client.training import Trainer
from fedelta.protocols import seeds
from fedelta.protocols.settings import Config
from fedelta.protocols.vectors import Contribution, TaskVector

UPLOAD, SUM = "upload", "sum"


@dataclass(frozen=True, slots=True)
class Defence:
    """What is done to every client's change before it is sent.

    Attributes:
        name: what a table calls it.
        text: a recipe: its transforms are applied.
        clip: norm, in units of the honest clients' median; 0: none.
        noise: deviation of the noise in the sum of all, in units of the clip; each of
            n clients adds its share of it, a root of n-th.
    """

    name: str
    text: str = "fedavg()"
    clip: float = 0.0
    noise: float = 0.0


DEFENCES = (
    Defence("none"),
    Defence("top 10 %", "trim(0.1) | fedavg()"),
    Defence("top 1 %", "trim(0.01) | fedavg()"),
    Defence("DARE 10 %", "drop(0.1) | fedavg()"),
    Defence("clip", clip=0.5),
    Defence("clip, noise 0.01", clip=1.0, noise=0.01),
    Defence("clip, noise 0.1", clip=1.0, noise=0.1),
    Defence("clip, noise 1", clip=1.0, noise=1.0),
)
"""Noise 1 with all clients in every round is client-level privacy of z = 1."""


def trained(
    base: Any, config: Config, own: Examples, key: int, trainer: Trainer
) -> Change:
    """What a client's first round changes, before any defence."""
    base.reset()
    start = base.start(config, models.run_key(config), 1)
    with adapted(base, config, start) as adapter:
        trainer.train(adapter, own, key)
        return adapter.change()


def folded(base: Any, config: Config, change: Change) -> Any:
    """The base with a change in it."""
    base.reset()
    update = dict(change)
    for pair in base.pairs(config):
        update[pair.b] = change[pair.b] * np.float32(pair.scaling)
    base.fold(update)
    return base


def sent(
    change: Change,
    defence: Defence,
    usual: float,
    clients: int,
    name: str,
    part: Callable[[Change], Change] = dict,
) -> Change:
    """A client's change as it leaves it.

    Args:
        change: what training changed.
        defence: what is done to it.
        usual: the median norm of honest changes.
        clients: how many share the noise.
        name: the client's, which masks and noise are keyed by.
        part: what of it is looked at: the rest needs no noise.
    """
    made: Contribution = TaskVector.of(change)
    for one in recipe(defence.text).before:
        made = one.apply(made, Key("leaks", 1, name))
    found = dict(Read(made))
    bound = defence.clip * usual
    if bound:
        found = times(found, min(1.0, bound / max(norm(found), 1e-30)))
    found = part(found)
    if defence.noise:
        deviation = defence.noise * bound / clients**0.5
        found = {
            what: (one + deviation * _drawn(name, what, one.size).reshape(one.shape))
            .astype(np.float32)
            for what, one in found.items()
        }  # fmt: skip
    return found


def seen(view: str, own: Change, others: Sequence[Change]) -> Change:
    """What the onlooker has: the client's upload, or the mean of all uploads."""
    return own if view == UPLOAD else mean([own, *others])


def kept(cache: Path | None, name: str, make: Callable[[], Change]) -> Change:
    """What training gave, from a folder where it was done before."""
    path = cache / f"{name}.safetensors" if cache else None
    if path is not None and path.exists():
        return load_file(path)
    made = make()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        save_file({what: np.ascontiguousarray(one) for what, one in made.items()}, part)
        part.replace(path)
    return made


def usual(changes: Sequence[Change]) -> float:
    """The median norm."""
    return float(np.median([norm(one) for one in changes]))


def _drawn(name: str, what: str, size: int) -> np.ndarray:
    return seeds.normal(seeds.key("leaks", "noise", name, what), 0, size)

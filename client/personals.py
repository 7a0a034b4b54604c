"""A client's own model: the global one, trained on its own examples, and mixed with it.

The client trains on from the global model and takes of what that changed the share
that does best on examples that it trains on neither here nor in a round. The share 0 is
the global model, so nobody is worse off on those examples than with it.

Sources: Wortsman et al., `Robust fine-tuning of zero-shot models
<https://arxiv.org/abs/2109.01903>`_, 2022, for the way between two models; Deng et al.,
`Adaptive Personalized Federated Learning <https://arxiv.org/abs/2003.13461>`_, 2020,
for each client's own place on it. With ``train.prox_mu`` training is pulled back to the
global model, as in Li et al., `Ditto <https://arxiv.org/abs/2012.04221>`_, 2021.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.numpy import save

from ..aggregators.base import Key
from ..aggregators.solos import solo
from ..aggregators.spaces import Arrival
from ..protocols import seeds
from ..protocols.disks import write
from ..protocols.errors import ConfigError
from ..protocols.metrics import falls
from ..protocols.settings import Config
from ..protocols.vectors import Floats, TaskVector
from . import exports, training
from .adapters import adapted
from .data import Examples
from .evaluation import evaluate
from .layouts import personal
from .models import Base, run_key
from .trainers import trainer
from .trials import scaled, trial

FOLDER = "personal"
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of its own training that a client tries."""


@dataclass(frozen=True, slots=True)
class Mix:
    """What a client takes of its own training.

    Attributes:
        share: how much.
        values: the metric of every share that was tried.
    """

    share: float
    values: Mapping[float, float]


def tuned(
    base: Base,
    config: Config,
    own: Examples,
    steps: int,
    key: int,
    *,
    dense: bool = True,
) -> dict[str, Floats]:
    """Train on from a base as it is; afterwards it is that again.

    Args:
        base: the global model.
        config: as the client sees it.
        own: its training examples.
        steps: optimiser steps; 0: ``train.steps``.
        key: everything random follows from it.
        dense: also train what is no factor: the head.

    Returns:
        What training changed, as an update: factors by module (scaling 1) and dense
        changes by name.

    Raises:
        ConfigError: the client keeps factors of its own from round to round anyway.
        BoundsError: the loss stopped being a number.
    """
    if personal(config):
        raise ConfigError(
            f'lora.space = "{config.lora.space}" has a model for each client already'
        )
    number = len(base.applied) + 1
    start = base.start(config, run_key(config), number)
    with adapted(base, config, start) as adapter:
        if not dense:
            held = adapter.parameters.items()
            adapter.parameters = {n: one for n, one in held if n not in base.dense}
        trainer(training.alone(config), steps).train(adapter, own, key)
        change = TaskVector.of(adapter.change())
    arrival = Arrival("own", change, pairs=base.pairs(config), start=start)
    space = "full" if config.train.mode == "full" else config.lora.space
    return solo(arrival, space, Key("", number))


def judged(base: Base, some: Examples, config: Config, metric: str) -> dict[str, float]:
    """What `evaluate` finds of a model as it is now, this metric among it.

    Raises:
        ConfigError: there is no such metric.
    """
    found = evaluate(base, some, config)
    if metric not in found:
        raise ConfigError(f"no metric {metric!r}: there are {', '.join(sorted(found))}")
    return found


def mixed(
    base: Base,
    update: Mapping[str, Floats],
    held: Examples,
    config: Config,
    *,
    metric: str = "",
    shares: Sequence[float] = SHARES,
) -> Mix:
    """Find the share of an update that does best.

    Of equals it is the one with the lower loss, of these the smallest.

    Args:
        base: the global model.
        update: what the client's own training changed.
        held: examples to choose by, at least one.
        config: the run's.
        metric: to choose by; empty: `eval.metric`.
        shares: those that are tried.

    Raises:
        ConfigError: there is nothing to choose by, or no such metric.
    """
    wanted = metric or config.eval.metric
    if not len(held):
        raise ConfigError(
            "a client has no examples to choose its own mix by: raise data.validation"
        )
    values: dict[float, float] = {}
    losses: dict[float, float] = {}
    for share in {0.0, *shares}:
        with trial(base, update if share else {}, share):
            found = judged(base, held, config, wanted)
        values[share], losses[share] = found[wanted], found["loss"]
    sign = 1.0 if falls(wanted) else -1.0
    order = sorted(values)
    best = min(order, key=lambda one: (sign * values[one], losses[one]))
    return Mix(best, {share: values[share] for share in order})


def keep(
    base: Base, config: Config, split: tuple[Examples, Examples], name: str, home: Path
) -> Mix:
    """Choose a client's mix and leave it where the client keeps its state of a run.

    Args:
        base: the released model.
        config: as the client sees it.
        split: its training and validation examples.
        name: the client's.
        home: its folder of the run; ``personal`` in it gets a PEFT adapter on top of
            the released model, ``head.safetensors`` with the head to go with it, and
            ``mix.json``.
    """
    own, held = split
    steps, folder = config.personal.steps, home / FOLDER
    key = seeds.key(FOLDER, config.run.seed, name)
    update = tuned(base, config, own, steps, key)
    mix = mixed(base, update, held, config, shares=config.personal.shares)
    taken = base.starts.completed(scaled(update, mix.share), len(base.applied) + 1)
    with trial(base, update if mix.share else {}, mix.share):
        weights = base.weights()
        heads = {one: weights[one].copy() for one in base.heads}
        whole = {one: weights[one] for one in base.own_heads}
        exports.adapter(config, [taken], folder, whole)
    if heads:
        write(folder / "head.safetensors", save(heads))
    write(folder / "mix.json", (json.dumps(asdict(mix), indent=2) + "\n").encode())
    return mix

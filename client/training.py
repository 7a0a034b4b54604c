"""Local training: what a client does with its examples in a round."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..protocols import seeds
from ..protocols.errors import BoundsError, ConfigError
from ..protocols.settings import Config, Train
from .adapters import Adapter
from .data import Examples, Labels

if TYPE_CHECKING:
    from torch import Tensor, nn, optim


class Trainer(Protocol):
    """Anything that trains an adapter in place."""

    def train(self, adapter: Adapter, examples: Examples, key: int) -> dict[str, float]:
        """Train; everything random follows from `key`.

        Returns:
            At least "loss", the mean over the steps, and "steps".

        Raises:
            BoundsError: the loss stopped being a number.
        """


@dataclass(frozen=True, slots=True)
class TorchTrainer:
    """Our loop: the task's loss, AdamW or SGD, a schedule, clipping, FedProx.

    Attributes:
        config: its [train] table says how.
        steps: optimiser steps; 0: ``train.steps``.
    """

    config: Config
    steps: int = 0

    def train(self, adapter: Adapter, examples: Examples, key: int) -> dict[str, float]:
        """Train an adapter, the head, or every weight in place."""
        import torch

        settings, network = self.config.train, adapter.base.network
        steps = self.steps or settings.steps
        parameters = list(adapter.parameters.values())
        made = optimiser(settings, parameters)
        losses: list[float] = []
        rows = network.rows(examples, settings)
        with torch.random.fork_rng(devices=[]), checkpointed(network.body, settings):
            torch.manual_seed(key & (2**63 - 1))
            for step, places in enumerate(_batches(len(rows), settings, steps, key)):
                for group in made.param_groups:
                    group["lr"] = settings.learning_rate * rate(settings, step, steps)
                made.zero_grad()
                some = [rows[place] for place in places.tolist()]
                losses.append(_backward(adapter, some, settings))
                if not math.isfinite(losses[-1]):
                    raise BoundsError(
                        f"the loss of step {step + 1} is not a number: lower "
                        "train.learning_rate"
                    )
                if settings.clip_norm:
                    torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
                _correct(adapter)
                made.step()
        return {"loss": float(np.mean(losses)), "steps": float(steps)}


def rate(settings: Train, step: int, steps: int) -> float:
    """The share of the peak learning rate at a step, counted from 0.

    Example:
        >>> linear = Train(schedule="linear", warmup=0.5)
        >>> [rate(linear, step, 4) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    warm = round(settings.warmup * steps)
    if step < warm:
        return (step + 1) / warm
    return _fallen(settings.schedule, (step - warm) / max(1, steps - warm))


def in_round(config: Config, number: int) -> Config:
    """A run's configuration with the peak rate and steps of one round, counted from 1.

    Example:
        >>> from fedelta.protocols.settings import Run
        >>> config = Config(run=Run(rounds=4), train=Train(decay="linear"))
        >>> [in_round(config, n).train.learning_rate * 1e3 for n in (1, 3)]
        [3.0, 1.5]
    """
    left = _fallen(config.train.decay, (number - 1) / max(1, config.run.rounds))
    peak, steps = config.train.learning_rate * left, config.train.steps_in(number)
    return replace(config, train=replace(config.train, learning_rate=peak, steps=steps))


def way(config: Config, number: int) -> float:
    """The sum of the learning rates of a round's steps: what gradients add up with.

    Example:
        >>> way(Config(train=Train(steps=4, learning_rate=0.5)), 1)
        2.0
    """
    settings = in_round(config, number).train
    rates = [rate(settings, step, settings.steps) for step in range(settings.steps)]
    return settings.learning_rate * math.fsum(rates)


def alone(config: Config) -> Config:
    """The same decay for one training as long as all rounds: over its steps."""
    if config.train.decay == "none":
        return config
    return replace(config, train=replace(config.train, schedule=config.train.decay))


def _fallen(shape: str, done: float) -> float:
    """What is left of a peak after a share of the way."""
    if shape == "linear":
        return 1.0 - done
    if shape == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    return 1.0


def optimiser(settings: Train, parameters: "list[nn.Parameter]") -> "optim.Optimizer":
    """What takes the steps that a run asks for."""
    from torch import optim

    if settings.optimizer == "sgd":
        return optim.SGD(parameters, lr=settings.learning_rate)
    return optim.AdamW(
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )


def _batches(count: int, settings: Train, steps: int, key: int) -> Iterator[Labels]:
    """[batch] places of each step: one keyed order after another, cut up."""
    size = min(settings.batch, count)
    epochs = -(-steps * size // count)
    orders = [
        seeds.permutation(seeds.key("epoch", key, n), count) for n in range(epochs)
    ]
    stream = np.concatenate(orders)
    for step in range(steps):
        yield stream[step * size : (step + 1) * size]


def _backward(adapter: Adapter, rows: Sequence[Any], settings: Train) -> float:
    """Add up a step's gradients, few rows at a time; its mean loss."""
    import torch

    network = adapter.base.network
    total = max(1, network.weigh(rows))
    size = settings.micro_batch or len(rows)
    value = 0.0
    for first in range(0, len(rows), size):
        loss = network.loss(rows[first : first + size], settings) / total
        torch.autograd.backward(loss)
        value += loss.item()
    if settings.prox_mu:
        pull = 0.5 * settings.prox_mu * _distance(adapter)
        torch.autograd.backward(pull)
        value += pull.item()
    return value


def _correct(adapter: Adapter) -> None:
    """Add the correction, where there is one, to the gradients."""
    for name, one in adapter.correction.items():
        parameter = adapter.parameters[name]
        parameter.grad = one.clone() if parameter.grad is None else parameter.grad + one


def _distance(adapter: Adapter) -> "Tensor":
    """The square of how far training has gone."""
    import torch

    gaps = [
        (parameter - adapter.origin[name]).square().sum()
        for name, parameter in adapter.parameters.items()
    ]
    return torch.stack(gaps).sum()


@contextmanager
def checkpointed(body: "nn.Module", settings: Train) -> Iterator[None]:
    """The body computes activations again instead of keeping them, where asked for.

    Only the layers that are computed again think that they are training: what drops
    out stays in, as in all of our training.

    Raises:
        ConfigError: the model cannot.
    """
    if not settings.checkpointing:
        yield
        return
    model: Any = body
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise ConfigError("train.checkpointing: this model does not support it")
    _switch(model, "enable", {"use_reentrant": False})
    try:
        for layer in model.modules():
            if hasattr(layer, "gradient_checkpointing"):
                layer.training = True
        yield
    finally:
        _switch(model, "disable")
        model.eval()


def _switch(model: Any, what: str, *arguments: Any) -> None:
    """Call a model's switch by the name that this version of transformers has."""
    found = getattr(model, f"activation_checkpointing_{what}", None)
    switch = found or getattr(model, f"gradient_checkpointing_{what}")
    switch(*arguments)

"""Local training: what a client does with its examples in a round."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..protocols import seeds
from ..protocols.errors import BoundsError
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
    """Our loop: cross-entropy, AdamW or SGD, a schedule, clipping, FedProx.

    Attributes:
        config: its [train] table says how.
        steps: optimiser steps; 0: ``train.steps``.
    """

    config: Config
    steps: int = 0

    def train(self, adapter: Adapter, examples: Examples, key: int) -> dict[str, float]:
        """Train an adapter and the head in place."""
        import torch

        settings = self.config.train
        steps = self.steps or settings.steps
        parameters = list(adapter.parameters.values())
        optimiser = _optimiser(settings, parameters)
        losses: list[float] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key & (2**63 - 1))
            for step, places in enumerate(
                _batches(len(examples), settings, steps, key)
            ):
                for group in optimiser.param_groups:
                    group["lr"] = settings.learning_rate * rate(settings, step, steps)
                loss = _loss(adapter, examples.take(places), settings)
                losses.append(loss.item())
                if not math.isfinite(losses[-1]):
                    raise BoundsError(
                        f"the loss of step {step + 1} is not a number: lower "
                        "train.learning_rate"
                    )
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                if settings.clip_norm:
                    torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
                optimiser.step()
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
    done = (step - warm) / max(1, steps - warm)
    if settings.schedule == "linear":
        return 1.0 - done
    if settings.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    return 1.0


def _optimiser(settings: Train, parameters: "list[nn.Parameter]") -> "optim.Optimizer":
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


def _loss(adapter: Adapter, some: Examples, settings: Train) -> "Tensor":
    import torch
    from torch.nn import functional

    scores = adapter.scores(some.texts, settings.max_length)
    loss = functional.cross_entropy(scores, torch.from_numpy(some.labels))
    if settings.prox_mu:
        for name, parameter in adapter.parameters.items():
            gap = parameter - adapter.origin[name]
            loss = loss + 0.5 * settings.prox_mu * gap.square().sum()
    return loss

"""Training by the `Trainer` of transformers, for what its users rely on.

It gets our adapter as it sits in the model, the task's rows as its data and the
task's loss as its own; optimiser, schedule, clipping and order of batches are its
business, set from the [train] table.
"""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..protocols.errors import BoundsError, ConfigError
from ..protocols.settings import Config
from .adapters import Adapter
from .data import Examples

if TYPE_CHECKING:
    from transformers import TrainingArguments

_SEEDS = 2**31 - 1
_OPTIMISERS = {"adamw": "adamw_torch", "sgd": "sgd"}


@dataclass(frozen=True, slots=True)
class HuggingFaceTrainer:
    """A `Trainer` of ours around `transformers.Trainer`.

    Attributes:
        config: its [train] table says how.
        steps: optimiser steps; 0: ``train.steps``.
        callbacks: handed to `transformers.Trainer`.
        options: more fields of `TrainingArguments`, by name.
    """

    config: Config
    steps: int = 0
    callbacks: Sequence[Any] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def train(self, adapter: Adapter, examples: Examples, key: int) -> dict[str, float]:
        """Train an adapter in place; everything random follows from `key`.

        Raises:
            ConfigError: ``train.prox_mu`` is set, which it does not know.
            BoundsError: the loss stopped being a number.
        """
        settings, network = self.config.train, adapter.base.network
        if settings.prox_mu:
            raise ConfigError("train.prox_mu is for our own loop: empty train.trainer")
        rows = network.rows(examples, settings)
        size = min(settings.batch, len(rows))
        split = min(settings.micro_batch or size, size)
        import torch

        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
            given = self._arguments(folder, split, -(-size // split), key)
            found = _run(adapter, rows, settings, given, list(self.callbacks))
        loss = float(found.training_loss)
        if not loss < float("inf"):
            raise BoundsError("the loss is not a number: lower train.learning_rate")
        return {"loss": loss, "steps": float(given.max_steps)}

    def _arguments(
        self, folder: str, size: int, parts: int, key: int
    ) -> "TrainingArguments":
        from transformers import TrainingArguments

        settings = self.config.train
        steps = self.steps or settings.steps
        given: dict[str, Any] = {
            "output_dir": folder,
            "max_steps": steps,
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": parts,
            "learning_rate": settings.learning_rate,
            "weight_decay": settings.weight_decay,
            "max_grad_norm": settings.clip_norm,
            "optim": _OPTIMISERS[settings.optimizer],
            "lr_scheduler_type": settings.schedule,
            "warmup_steps": round(settings.warmup * steps),
            "seed": key & _SEEDS,
            "data_seed": key & _SEEDS,
            "use_cpu": True,
            "save_strategy": "no",
            "logging_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "remove_unused_columns": False,
            "dataloader_pin_memory": False,
        }
        return TrainingArguments(**given | dict(self.options))


def _run(
    adapter: Adapter,
    rows: Sequence[Any],
    settings: Any,
    given: "TrainingArguments",
    callbacks: list[Any],
) -> Any:
    import torch
    import transformers
    from transformers.trainer_callback import PrinterCallback

    network = adapter.base.network

    class Wrapped(torch.nn.Module):
        """The parameters that are trained, and a loss of rows."""

        def __init__(self) -> None:
            super().__init__()
            self.trained = torch.nn.ParameterList(adapter.parameters.values())

        def forward(self, rows: Sequence[Any]) -> dict[str, Any]:
            counted = max(1, network.weigh(rows))
            return {"loss": network.loss(rows, settings) / counted}

    logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
    made = transformers.Trainer(
        model=Wrapped(),
        args=given,
        train_dataset=_Rows(rows),
        data_collator=lambda some: {"rows": list(some)},
        callbacks=callbacks,
    )
    made.remove_callback(PrinterCallback)
    return made.train()


class _Rows:
    """Rows as a dataset, which `Trainer` wants to have no surprises."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> Any:
        return self._rows[place]

"""What a task is, to training and evaluation: rows, a loss, metrics."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from ..protocols.settings import Train

if TYPE_CHECKING:
    from .data import Examples


class Network(Protocol):
    """A pretrained model that does a task.

    Attributes:
        body: the Hugging Face model; adapters go into it.
        tokenizer: the model's.
        head: parameters that are always trained, by the names under which they
            travel.
        parts: the modules that all parameters lie in.
    """

    body: nn.Module
    parts: tuple[nn.Module, ...]
    tokenizer: Any
    head: dict[str, nn.Parameter]

    def rows(self, examples: "Examples", settings: Train) -> Sequence[Any]:
        """What batches are put together from: a row an example, or packed."""

    def weigh(self, rows: Sequence[Any]) -> int:
        """How many losses `loss` adds up for some rows."""

    def loss(self, rows: Sequence[Any], settings: Train) -> Tensor:
        """The sum of some rows' losses in nats, with the graph that training needs."""

    def record_loss(self, rows: Sequence[Any], settings: Train) -> Tensor:
        """The sum of some rows' own losses, each row's a mean over what counts in it.

        So one row more or less changes it by that row's own loss alone.
        """

    def doubt(self, rows: Sequence[Any], settings: Train) -> Tensor:
        """The sum of the entropies of what is predicted, in nats; no label is read."""

    def judge(self, examples: "Examples", settings: Train) -> dict[str, float]:
        """Metrics of the model as it is now."""


def computing(body: nn.Module, dtype: str) -> AbstractContextManager[Any]:
    """Matrices are multiplied in `dtype` within, whatever they are kept in."""
    kind = next(body.parameters()).device.type
    return torch.autocast(kind, torch.bfloat16, enabled=dtype == "bfloat16")

"""Classification: texts in batches, cross-entropy, accuracy."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..protocols.settings import Train
from . import accuracies
from .networks import computing

if TYPE_CHECKING:
    from .data import Examples
    from .heads import Scorer

BATCH = 64
"""Texts that are judged at once."""

Row = tuple[str, int]


class Classification:
    """A body with a head that scores classes.

    Args:
        scorer: body and head.
        tokenizer: the model's.
        dtype: what it computes in.
    """

    def __init__(self, scorer: "Scorer", tokenizer: Any, dtype: str) -> None:
        self.body: nn.Module = scorer.body
        self.head: dict[str, nn.Parameter] = scorer.head
        self.parts = scorer.parts
        self._scorer = scorer
        self.tokenizer = tokenizer
        self._dtype = dtype

    def rows(self, examples: "Examples", settings: Train) -> list[Row]:  # noqa: ARG002
        """A text with its class each."""
        return list(zip(examples.texts, examples.labels.tolist(), strict=True))

    def weigh(self, rows: Sequence[Row]) -> int:
        """A loss a text."""
        return len(rows)

    def loss(self, rows: Sequence[Row], settings: Train) -> Tensor:
        """The sum of the texts' cross-entropies."""
        scores = self.scores([text for text, _ in rows], settings.max_length)
        labels = torch.tensor([label for _, label in rows])
        return functional.cross_entropy(scores, labels, reduction="sum")

    def record_loss(self, rows: Sequence[Row], settings: Train) -> Tensor:
        """The sum of the texts' own losses: each counts as much as any."""
        return self.loss(rows, settings)

    def doubt(self, rows: Sequence[Row], settings: Train) -> Tensor:
        """The sum of the texts' entropies over classes."""
        scores = self.scores([text for text, _ in rows], settings.max_length)
        log = functional.log_softmax(scores, -1)
        return -(log.exp() * log).sum()

    def scores(self, texts: Iterable[str], longest: int) -> Tensor:
        """[texts, classes] logits, float32."""
        batch = tokenised(self.tokenizer, texts, longest)
        with computing(self.body, self._dtype):
            return self._scorer.scores(batch).float()

    def predict(self, texts: Sequence[str], settings: Train) -> npt.NDArray[np.float64]:
        """[texts, classes] log-probabilities; texts of like length share a batch."""
        order = sorted(range(len(texts)), key=lambda place: (len(texts[place]), place))
        rows: list[npt.NDArray[np.float64]] = []
        with torch.inference_mode():
            for first in range(0, len(order), BATCH):
                some = [texts[place] for place in order[first : first + BATCH]]
                scores = self.scores(some, settings.max_length).double()
                rows.append(torch.log_softmax(scores, -1).numpy())
        found = np.empty((len(texts), rows[0].shape[1]))
        found[order] = np.concatenate(rows)
        return found

    def judge(self, examples: "Examples", settings: Train) -> dict[str, float]:
        """Accuracy, loss and F1, as `accuracies.metrics` has them."""
        return accuracies.metrics(
            self.predict(examples.texts, settings), examples.labels
        )


def tokenised(
    tokenizer: Any, texts: Iterable[str], longest: int
) -> dict[str, torch.Tensor]:
    """Texts as a padded batch, at most `longest` tokens each."""
    batch = tokenizer(
        list(texts),
        padding=True,
        truncation=True,
        max_length=longest,
        return_tensors="pt",
    )
    return {name: batch[name] for name in ("input_ids", "attention_mask")}

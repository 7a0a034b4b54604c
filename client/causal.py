"""Causal language models: rows of tokens, the loss of the next token, perplexities.

No attention mask is needed: rows are padded behind their texts, where a causal model
does not look, and texts that share a row are kept apart by their positions, which
start anew (transformers reads that off as it builds its own mask).
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..protocols.settings import Train
from . import packing, perplexities, texts
from .networks import computing

if TYPE_CHECKING:
    from .data import Examples

IGNORED = -100
"""The target of a token that does not count."""

BATCH = 16
"""Rows that are judged at once."""

Pack = tuple[texts.Row, ...]
"""A row of a batch: one text, or several where they are packed."""


class Causal:
    """A causal LM with its tokenizer.

    Args:
        body: an `AutoModelForCausalLM`.
        tokenizer: the model's.
        domains: what the examples' classes are called: perplexities go by them.
        dtype: what it computes in.

    Attributes:
        body: the model.
        tokenizer: its tokenizer.
        head: nothing: its output layer is the model's own.
    """

    def __init__(
        self, body: nn.Module, tokenizer: Any, domains: Iterable[str], dtype: str
    ) -> None:
        self.body = body
        self.parts: tuple[nn.Module, ...] = (body,)
        self.head: dict[str, nn.Parameter] = {}
        self.tokenizer = tokenizer
        self._domains = tuple(domains)
        self._dtype = dtype

    def rows(self, examples: "Examples", settings: Train) -> list[Pack]:
        """Examples in tokens, packed where the settings ask for it."""
        found = self._encoded(examples.texts, settings.max_length)
        if not settings.packing:
            return [(row,) for row in found]
        places = packing.packed([len(row) for row in found], settings.max_length)
        return [tuple(found[place] for place in some) for some in places]

    def weigh(self, rows: Sequence[Pack]) -> int:
        """How many tokens of some rows count."""
        return sum(row.count for pack in rows for row in pack)

    def loss(self, rows: Sequence[Pack], settings: Train) -> Tensor:  # noqa: ARG002
        """The sum of the counted tokens' cross-entropies, in nats."""
        losses, _ = self.losses(rows)
        return losses.sum()

    def losses(self, rows: Sequence[Pack]) -> tuple[Tensor, Tensor]:
        """[tokens] cross-entropy of every counted token, and the row it is in."""
        logits, targets, owners = self._predicted(rows)
        return functional.cross_entropy(logits, targets, reduction="none"), owners

    def doubt(self, rows: Sequence[Pack], settings: Train) -> Tensor:  # noqa: ARG002
        """The sum of the counted tokens' entropies over the vocabulary."""
        log = functional.log_softmax(self._predicted(rows)[0], -1)
        return -(log.exp() * log).sum()

    def _predicted(self, rows: Sequence[Pack]) -> tuple[Tensor, Tensor, Tensor]:
        """[tokens, words] logits of counted tokens, what they are, whose rows."""
        batch, targets = _batch(rows)
        with computing(self.body, self._dtype):
            logits = self.body(**batch, use_cache=False).logits
        counted = targets != IGNORED
        return logits[counted].float(), targets[counted], counted.nonzero()[:, 0]

    def record_loss(self, rows: Sequence[Pack], settings: Train) -> Tensor:  # noqa: ARG002
        """The sum of the rows' own mean losses: each row counts as much as any."""
        losses, owners = self.losses(rows)
        counts = torch.tensor([sum(row.count for row in pack) for pack in rows])
        sums = torch.zeros(len(rows)).index_add(0, owners, losses)
        return (sums / counts.clamp(min=1)).sum()

    def judge(self, examples: "Examples", settings: Train) -> dict[str, float]:
        """Loss and perplexities of some texts, as `perplexities.metrics` has them."""
        values, owners = self.spread(examples.texts, settings)
        return perplexities.of_tokens(values, owners, examples.labels, self._domains)

    def spread(
        self, texts: Sequence[str], settings: Train
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """[tokens] cross-entropy of every counted token, and the text that it is in."""
        rows = self._encoded(texts, settings.max_length)
        order = sorted(range(len(rows)), key=lambda place: (len(rows[place]), place))
        values: list[npt.NDArray[np.float64]] = []
        owners: list[npt.NDArray[np.int64]] = []
        with torch.inference_mode():
            for first in range(0, len(order), BATCH):
                places = np.array(order[first : first + BATCH], np.int64)
                losses, whose = self.losses([(rows[int(place)],) for place in places])
                values.append(losses.double().numpy())
                owners.append(places[whose.numpy()])
        return np.concatenate(values), np.concatenate(owners)

    def _encoded(self, scripts: Iterable[str], longest: int) -> list[texts.Row]:
        return [texts.encode(one, self.tokenizer, longest) for one in scripts]


def _batch(rows: Sequence[Pack]) -> tuple[dict[str, Tensor], Tensor]:
    """What the model takes, and [rows, width] the token that each should predict."""
    width = max(sum(map(len, pack)) for pack in rows)
    ids = np.zeros((len(rows), width), np.int64)
    places = np.zeros((len(rows), width), np.int64)
    targets = np.full((len(rows), width), IGNORED, np.int64)
    for line, pack in enumerate(rows):
        start = 0
        for row in pack:
            end = start + len(row)
            ids[line, start:end] = row.ids
            targets[line, start : end - 1] = np.where(
                row.counted[1:], row.ids[1:], IGNORED
            )
            start = end
        places[line, :start] = packing.positions([len(row) for row in pack])
    batch = {"input_ids": torch.from_numpy(ids)}
    if any(len(pack) > 1 for pack in rows):
        batch["position_ids"] = torch.from_numpy(places)
    return batch, torch.from_numpy(targets)

"""An encoder of which only the upper layers are ever computed again."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Known(nn.Module):
    """In the place of a body's embeddings: what the layers below make of a text.

    Nothing below is trained, so every text is computed there once.

    Args:
        lower: a body that ends where the rest begins; no module of this one.
        padding: the id that fills batches up.
        dtype: what the rest computes in.
    """

    def __init__(self, lower: nn.Module, padding: int, dtype: str) -> None:
        super().__init__()
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._lower: tuple[Any] = (lower,)
        self._padding = padding
        self._known: dict[tuple[int, ...], Tensor] = {}

    def forward(self, input_ids: Tensor, **rest: Any) -> Tensor:  # noqa: ARG002
        """[texts, tokens, hidden] states; those of padding are zeros."""
        texts = [
            tuple(one[: int((row != self._padding).sum())])
            for row, one in zip(input_ids, input_ids.tolist(), strict=True)
        ]
        new = [at for at, text in enumerate(texts) if text not in self._known]
        if new:
            some = input_ids[new]
            with torch.no_grad():
                mask = (some != self._padding).long()
                found = self._lower[0](input_ids=some, attention_mask=mask)
            for at, states in zip(new, found.last_hidden_state, strict=True):
                self._known[texts[at]] = states[: len(texts[at])].to(self._dtype)
        known = [self._known[text] for text in texts]
        made = torch.zeros(*input_ids.shape, known[0].shape[-1], dtype=self._dtype)
        for row, states in zip(made, known, strict=True):
            row[: len(states)] = states
        return made


def shorten(body: Any, depth: int, padding: int, dtype: str) -> None:
    """Have a BERT remember, text by text, what its first layers give.

    Args:
        body: a `BertModel`, changed in place: its layers are counted from `depth` on.
        depth: how many layers are below.
        padding: the id that fills batches up.
        dtype: what the layers above compute in.
    """
    lower = copy.deepcopy(body)
    lower.encoder.layer = lower.encoder.layer[:depth]
    lower.pooler = None
    body.encoder.layer = body.encoder.layer[depth:]
    body.embeddings = Known(lower, padding, dtype)

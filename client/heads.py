"""Networks that classify: a pretrained body and what turns its output into scores.

The cosine head compares a text's mean-pooled, normalised embedding with one
normalised vector a class. Its vectors start as the embeddings of the class titles
themselves, so that the untouched base model already is a zero-shot classifier, and
they are trained and travel like any other tensor.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

TEMPERATURE = 20.0
"""Cosines are multiplied by this before the softmax."""

HEAD = "classifier.weight"
"""What the cosine head's class vectors are called, [classes, hidden]."""


class Scorer(Protocol):
    """A body with a head.

    Attributes:
        body: the Hugging Face model; adapters go into it.
        head: the head's parameters by the names under which they travel.
        parts: the modules that all parameters lie in.
    """

    body: nn.Module
    head: dict[str, nn.Parameter]
    parts: tuple[nn.Module, ...]

    def scores(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[texts, classes] logits of a tokenised batch."""


class Classes(nn.Module):
    """One vector a class: cosines of embeddings with them, times the temperature.

    Args:
        start: [classes, hidden] the vectors.
    """

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(start.clone(), requires_grad=False)

    def forward(self, embedded: Tensor) -> Tensor:
        """[texts, classes] from [texts, hidden]."""
        vectors = functional.normalize(self.weight, dim=-1)
        return TEMPERATURE * embedded @ vectors.T


class Cosine:
    """A body without a head of its own, and one vector a class.

    Args:
        body: an `AutoModel` whose output has `last_hidden_state`.
        titles: the tokenised class titles.
    """

    def __init__(self, body: nn.Module, titles: Mapping[str, Tensor]) -> None:
        self.body = body
        with torch.no_grad():
            start = self.embed(titles)
        self.classes = Classes(start)
        self.head = {HEAD: self.classes.weight}
        self.parts: tuple[nn.Module, ...] = (body, self.classes)

    def embed(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[texts, hidden] embeddings of length 1."""
        states: Any = self.body(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
        pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1.0)
        return functional.normalize(pooled, dim=-1)

    def scores(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[texts, classes] cosines times the temperature."""
        found: Tensor = self.classes(self.embed(batch))
        return found


class Linear:
    """An `AutoModelForSequenceClassification` with the head that it brings.

    Args:
        body: the model; what lies outside its `base_model_prefix` is the head.
    """

    def __init__(self, body: nn.Module) -> None:
        self.body = body
        self.parts: tuple[nn.Module, ...] = (body,)
        inside = f"{body.base_model_prefix}."
        self.head = {
            name: parameter
            for name, parameter in body.named_parameters()
            if not name.startswith(inside)
        }

    def scores(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[texts, classes] logits."""
        logits: Tensor = self.body(**batch).logits
        return logits

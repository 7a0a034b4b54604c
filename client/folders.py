"""A model as a folder that `transformers` reads by itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .models import Base

SHARD = "2GB"
"""Larger files are cut into several, with an index beside them."""


def save(base: "Base", folder: Path, labels: Sequence[str]) -> None:
    """Write a base with all that was folded in, and its tokenizer.

    Weights are written in the type in which they are kept: float32, but bfloat16 where
    ``model.dtype`` says so and they are not trained whole. A head that is not the
    model's own (the cosine head) is not in it.

    Args:
        base: the model at the version that is wanted.
        folder: where to; it is made.
        labels: the classes, for the configuration of a model that has a head for them.
    """
    from .loading import quiet

    body: Any = base.network.body
    parameters = dict(body.named_parameters())
    if base.network.head and base.network.head.keys() <= parameters.keys():
        body.config.id2label = dict(enumerate(labels))
        body.config.label2id = {name: place for place, name in enumerate(labels)}
    with quiet():
        body.save_pretrained(folder, max_shard_size=SHARD)
        base.network.tokenizer.save_pretrained(folder)


def public(model_id: str) -> str:
    """Where others find a base model: the demos' models by their names on the hub.

    Example:
        >>> public("minilm"), public("my/model")
        ('sentence-transformers/all-MiniLM-L6-v2', 'my/model')
    """
    from .loading import HUB

    return HUB.get(model_id, model_id)

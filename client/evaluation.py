"""How well a model does on labelled texts."""

import math

import numpy as np
import numpy.typing as npt

from ..protocols.settings import Config
from .data import Examples
from .models import Base

BATCH = 64


def evaluate(base: Base, examples: Examples, config: Config) -> dict[str, float]:
    """Judge the model as it is now, with the adapter that sits in it if one does.

    Args:
        base: the model.
        examples: what to judge it on, at least one.
        config: how much of a text is read.

    Returns:
        "accuracy", "loss" (mean cross-entropy, nats), "macro_f1" (over the classes
        that occur) and "examples".
    """
    scores = predict(base, examples.texts, config)
    return judge(scores, examples.labels)


def predict(
    base: Base, texts: tuple[str, ...], config: Config
) -> npt.NDArray[np.float64]:
    """[texts, classes] log-probabilities; texts of like length share a batch."""
    import torch

    order = sorted(range(len(texts)), key=lambda place: (len(texts[place]), place))
    rows: list[npt.NDArray[np.float64]] = []
    with torch.inference_mode():
        for first in range(0, len(order), BATCH):
            some = [texts[place] for place in order[first : first + BATCH]]
            batch = base.batch(some, config.train.max_length)
            scores = base.network.scores(batch).double()
            rows.append(torch.log_softmax(scores, -1).numpy())
    found = np.empty((len(texts), rows[0].shape[1]))
    found[order] = np.concatenate(rows)
    return found


def judge(
    scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> dict[str, float]:
    """Metrics of log-probabilities [n, classes] against the true classes [n].

    Example:
        >>> scores = np.log([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
        >>> found = judge(scores, np.array([0, 0, 1]))
        >>> found["accuracy"], found["macro_f1"], round(found["loss"], 3)
        (1.0, 1.0, 0.228)
    """
    said = scores.argmax(1)
    chosen = scores[np.arange(len(labels)), labels]
    return {
        "accuracy": float((said == labels).mean()),
        "loss": -math.fsum(chosen.tolist()) / len(labels),
        "macro_f1": _macro_f1(said, labels),
        "examples": float(len(labels)),
    }


def _macro_f1(said: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> float:
    found: list[float] = []
    for one in np.unique(labels):
        hit = float(((said == one) & (labels == one)).sum())
        found.append(2.0 * hit / float((said == one).sum() + (labels == one).sum()))
    return float(np.mean(found))

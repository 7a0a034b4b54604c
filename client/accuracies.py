"""How well classes are told: accuracy, loss and F1."""

import math

import numpy as np
import numpy.typing as npt


def metrics(
    scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> dict[str, float]:
    """Metrics of log-probabilities [n, classes] against the true classes [n].

    Returns:
        "accuracy", "loss" (mean cross-entropy, nats), "macro_f1" (over the classes
        that occur) and "examples".

    Example:
        >>> scores = np.log([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
        >>> found = metrics(scores, np.array([0, 0, 1]))
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

"""Whether a model is as sure as it is right: reliability, ECE; and ensembles.

Guo et al., `On Calibration of Modern Neural Networks
<https://arxiv.org/abs/1706.04599>`_, 2017.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 10

Scores = npt.NDArray[np.float64]


def reliability(
    scores: Scores, labels: npt.NDArray[np.int64], bins: int = BINS
) -> dict[str, Any]:
    """How often a model is right, by how sure it is.

    Args:
        scores: [n, classes] log-probabilities.
        labels: [n] the true classes.
        bins: how many, equally wide, from 0 to 1.

    Returns:
        "ece": the mean distance of confidence and accuracy, by texts; "bins": of each
        that holds any, its mean "confidence", its "accuracy" and its "count".

    Example:
        >>> scores = np.log([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
        >>> found = reliability(scores, np.array([0, 1, 1]))
        >>> round(found["ece"], 3), [one["count"] for one in found["bins"]]
        (0.4, [1, 2])
    """
    sure = np.exp(scores.max(1))
    right = scores.argmax(1) == labels
    places = np.minimum((sure * bins).astype(np.int64), bins - 1)
    told, total = [], 0.0
    for place in np.unique(places):
        inside = places == place
        confidence, accuracy = float(sure[inside].mean()), float(right[inside].mean())
        count = int(inside.sum())
        told.append({"confidence": confidence, "accuracy": accuracy, "count": count})
        total += count * abs(confidence - accuracy)
    return {"ece": total / max(1, len(labels)), "bins": told}


def ensemble(scores: Sequence[Scores]) -> Scores:
    """[n, classes] log-probabilities of the mean of several models' probabilities.

    Example:
        >>> one, other = np.log([[0.9, 0.1]]), np.log([[0.3, 0.7]])
        >>> np.exp(ensemble([one, other])).round(3).tolist()
        [[0.6, 0.4]]
    """
    with np.errstate(divide="ignore"):
        found: Scores = np.log(np.mean([np.exp(one) for one in scores], axis=0))
    return found

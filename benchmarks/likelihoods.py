"""How well a guess tells members from others: likelihood ratios, and their reach."""

from typing import Any

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def halves(records: int, models: int, draw: npt.NDArray[np.float64]) -> Flags:
    """[models, records] who is trained on what: each record by half of the models.

    Args:
        records: how many there are.
        models: an even number.
        draw: [models, records] uniform numbers.

    Example:
        >>> halves(3, 4, np.arange(12.0).reshape(4, 3)).sum(0).tolist()
        [2, 2, 2]
    """
    order = np.argsort(draw.reshape(models, records), axis=0, kind="stable")
    return np.asarray(np.argsort(order, axis=0, kind="stable") < models // 2)


def ratios(scores: Reals, inside: Flags) -> Reals:
    """Log likelihood ratios of each model's membership of each record (online LiRA).

    Carlini et al., `Membership Inference Attacks From First Principles
    <https://arxiv.org/abs/2112.03570>`_, 2022: of other models' scores of a record, one
    normal distribution of those trained on it and one of the rest. With few models the
    paper takes one variance for all records; so is done here. A model is judged
    without itself and one of the other side, so that both means are of equally many and
    their numbers say nothing of where it belongs.

    Args:
        scores: [models, records] larger where a record seems known.
        inside: [models, records] who was trained on what: half of the models each.

    Returns:
        [models, records], each model judged by the others as its shadows.

    Example:
        >>> inside = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0], [0, 1]], bool)
        >>> noise = np.array([[0.0, 0.1], [0.2, 0], [0.1, 0], [0, 0.2], [0, 0], [0, 0]])
        >>> bool(((ratios(inside + noise, inside) > 0) == inside).all())
        True
    """
    half = len(scores) // 2
    order = np.argsort(~inside, axis=0, kind="stable")
    sides = [np.take_along_axis(scores, one, 0) for one in (order[:half], order[half:])]
    means = [(one.sum(0) - one) / (half - 1) for one in sides]
    spreads = [max(float(np.std(one - one.mean(0))), 1e-12) for one in sides]

    def likely(values: Reals, side: int) -> Reals:
        away = (values - means[side]) / spreads[side]
        return np.asarray(-0.5 * away**2 - np.log(spreads[side]))

    found = np.concatenate([likely(one, 0) - likely(one, 1) for one in sides])
    out = np.empty_like(found)
    np.put_along_axis(out, order, found, 0)
    return out


def judged(guesses: Any, truth: Any) -> dict[str, float]:
    """What guesses reach.

    Args:
        guesses: numbers, larger where membership is more likely.
        truth: flags.

    Returns:
        "auc": the chance that a member is ranked above another (ties count half);
        "tpr": the share of members that is found where one other in a hundred is
        taken for one.

    Example:
        >>> judged([3, 2, 1, 0], [1, 1, 0, 0])
        {'auc': 1.0, 'tpr': 1.0}
        >>> judged([1, 1, 1, 1], [1, 0, 1, 0])["auc"]
        0.5
    """
    values = np.asarray(guesses, np.float64).ravel()
    member = np.asarray(truth, np.bool_).ravel()
    order = np.sort(values)
    low = np.searchsorted(order, values, "left")
    high = np.searchsorted(order, values, "right")
    ranks = (low + high + 1) / 2
    count, rest = int(member.sum()), int((~member).sum())
    auc = (float(ranks[member].sum()) - count * (count + 1) / 2) / (count * rest)
    allowed = int(0.01 * rest)
    bar = np.sort(values[~member])[::-1][allowed]
    return {"auc": auc, "tpr": float(np.mean(values[member] > bar))}

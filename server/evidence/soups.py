"""Which clients' models make the best merge: a greedy soup.

Wortsman et al., `Model soups <https://arxiv.org/abs/2203.05482>`_, 2022: models in the
order of what each does alone, each kept where the merge with it is no worse.
"""

from typing import Any

from ...client.data import Examples, joined
from ...protocols.metrics import falls
from .looks import COMMON, Look
from .revisits import Revisit, Round


def greedy(look: Look, played: Round, metric: str) -> dict[str, Any]:
    """A greedy soup of a round's replies, merged by the run's own recipe.

    Args:
        look: at the run, its session at the model before the round.
        played: the round.
        metric: on all clients' validation data; on the test set where there is none.

    Returns:
        "metric", "texts"; "alone": each client's own model; "members" in the order in
        which they were kept; "value" of their merge and "all", that of everybody's.
    """
    some = texts(look)
    sign = 1.0 if falls(metric) else -1.0

    def value(update: Any) -> float:
        return look.values({"": some}, update, metric)[""]

    alone = {one.name: value(played.solo(one.name)) for one in played.arrivals}
    members: list[str] = []
    best = float("inf")
    for name in sorted(alone, key=lambda each: (sign * alone[each], each)):
        found = sign * value(played.merged([*members, name]).update)
        if found <= best:
            members, best = [*members, name], found
    return {
        "metric": metric,
        "texts": len(some),
        "alone": alone,
        "members": members,
        "value": sign * best,
        "all": value(played.merged().update),
    }


def volume(look: Look, played: Round) -> int:
    """How many texts `greedy` judges."""
    return (2 * len(played.arrivals) + 1) * len(texts(look))


def texts(look: Look) -> Examples:
    """What soups are judged on."""
    return look.some(judging(look.visit), "soup", times=COMMON)


def judging(visit: Revisit) -> Examples:
    """What clients keep for validation; the test set where they keep nothing."""
    task = visit.tape.task
    parts = [task.split(name)[1] for name, own in task.clients.items() if len(own)]
    held = joined(parts)
    return held if len(held) else task.test

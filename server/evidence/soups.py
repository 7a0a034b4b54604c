"""Which clients' models make the best merge: a greedy soup.

Wortsman et al., `Model soups <https://arxiv.org/abs/2203.05482>`_, 2022: models in the
order of what each does alone, each kept where the merge with it is no worse.
"""

from typing import Any

from ...client.data import Examples, joined
from ...client.evaluation import evaluate
from ...client.trials import trial
from ...protocols.metrics import falls
from .keepers import model
from .revisits import Revisit, Round


def greedy(visit: Revisit, played: Round, metric: str) -> dict[str, Any]:
    """A greedy soup of a round's replies, merged by the run's own recipe.

    Args:
        visit: the run, its session at the model before the round.
        played: the round.
        metric: on all clients' validation data; on the test set where there is none.

    Returns:
        "metric"; "alone": each client's own model; "members" in the order in which they
        were kept; "value" of their merge and "all", that of everybody's.
    """
    some = judging(visit)
    base, config = model(visit.session), visit.tape.config
    sign = 1.0 if falls(metric) else -1.0

    def value(update: Any) -> float:
        with trial(base, update):
            return evaluate(base, some, config)[metric]

    alone = {one.name: value(played.solo(one.name)) for one in played.arrivals}
    members: list[str] = []
    best = float("inf")
    for name in sorted(alone, key=lambda each: (sign * alone[each], each)):
        found = sign * value(played.merged([*members, name]).update)
        if found <= best:
            members, best = [*members, name], found
    return {
        "metric": metric,
        "alone": alone,
        "members": members,
        "value": sign * best,
        "all": value(played.merged().update),
    }


def judging(visit: Revisit) -> Examples:
    """What clients keep for validation; the test set where they keep nothing."""
    task = visit.tape.task
    parts = [task.split(name)[1] for name, own in task.clients.items() if len(own)]
    held = joined(parts)
    return held if len(held) else task.test

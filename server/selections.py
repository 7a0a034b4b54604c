"""Which round's model is kept, and when a run has stopped getting better."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..protocols.errors import ConfigError
from ..protocols.metrics import falls
from ..protocols.settings import Eval

if TYPE_CHECKING:
    from .sessions import Session

Found = Mapping[int, Mapping[str, float]]


def best(metrics: Found, metric: str) -> int:
    """The round with the best value, the earliest of equals; 0 where none has one.

    Args:
        metrics: by round; round 0, the base, does not count.
        metric: which.

    Example:
        >>> best({0: {"loss": 1}, 1: {"loss": 3}, 2: {"loss": 2}, 3: {}}, "loss")
        2
    """
    sign = 1.0 if falls(metric) else -1.0
    values = {n: one[metric] for n, one in metrics.items() if n and metric in one}
    return min(values, key=lambda n: (sign * values[n], n), default=0)


def stalled(metrics: Found, settings: Eval) -> bool:
    """Whether ``eval.early_stop`` evaluations in a row were no better.

    Example:
        >>> seen = {1: {"accuracy": 0.5}, 2: {"accuracy": 0.4}, 3: {"accuracy": 0.5}}
        >>> stalled(seen, Eval(early_stop=2)), stalled(seen, Eval(early_stop=3))
        (True, False)
    """
    if not settings.early_stop:
        return False
    leader = best(metrics, settings.metric)
    since = sum(n > leader and settings.metric in one for n, one in metrics.items())
    return since >= settings.early_stop


def over(session: "Session") -> bool:
    """Whether a run has had all its rounds, or no use for more."""
    done = session.round >= session.config.run.rounds
    return done or stalled(session.metrics, session.config.eval)


def check(metrics: Mapping[str, float], settings: Eval) -> None:
    """See that what a run is steered by is measured.

    Args:
        metrics: of the base model.
        settings: of the run.

    Raises:
        ConfigError: it is not.
    """
    steered = settings.early_stop or settings.keep == "best"
    if steered and settings.metric not in metrics:
        there = ", ".join(sorted(metrics)) or "nothing: see eval.where and data.test"
        raise ConfigError(
            f'eval.metric = "{settings.metric}" is not measured; there is {there}'
        )

"""Who judges merges: the last global model with each of them folded in, in turn."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...protocols.errors import ConfigError
from ...protocols.metrics import falls
from ...protocols.settings import Gate
from . import ballots

if TYPE_CHECKING:
    from ...client.data import Examples
    from ...client.models import Base
    from ..sessions import Session

VALIDATION, TEST, CLIENTS = "validation", "test", "clients"


@dataclass(slots=True)
class Gatekeeper:
    """The gate of one round.

    Attributes:
        session: the run, its base at the last global model.
        number: the round.
        grid: reaches the clients, where they judge.
        told: what the decision is made from, for the record.
    """

    session: "Session"
    number: int
    grid: Any = None
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def gate(self) -> Gate:
        """The settings."""
        return self.session.config.gate

    @property
    def metric(self) -> str:
        """By which merges are judged."""
        return self.gate.metric or self.session.config.eval.metric

    def value(self, update: Mapping[str, Any] | None) -> float:
        """The metric of the last model with an update folded in."""
        from ...client.evaluation import evaluate
        from ...client.trials import trial

        session = self.session
        if self.gate.source == CLIENTS:
            found = ballots.judged(session, update, self.number, self.grid)
        else:
            base, some = model(session), examples(session)
            with trial(base, update or {}):
                found = evaluate(base, some, session.config)
        if self.metric not in found:
            raise ConfigError(
                f"gate.metric = {self.metric!r}: there are {', '.join(sorted(found))}"
            )
        return found[self.metric]

    def above(self, one: float, other: float) -> float:
        """How much better one value is than another."""
        return other - one if falls(self.metric) else one - other

    def good(self, value: float) -> bool:
        """Whether a merge is no worse than the last model, within the tolerance."""
        gap = self.above(value, float(self.told["before"]))
        return gap >= -self.gate.tolerance


def model(session: "Session") -> "Base":
    """A run's model, to compute with.

    Raises:
        ConfigError: the server holds its weights alone.
    """
    from ...client.models import Base

    if not isinstance(session.base, Base):
        raise ConfigError("the server has no model to judge by: see eval.where")
    return session.base


def examples(session: "Session") -> "Examples":
    """What merges are judged on.

    Raises:
        ConfigError: there is none of it here.
    """
    from ...client.data import joined, public

    config, task = session.config, session.task
    source = config.gate.source
    if source == TEST:
        found = task.test
    elif source == VALIDATION:
        found = joined([task.split(n)[1] for n, own in task.clients.items() if own])
    else:
        found = public(source, config, task.labels)
    if not len(found):
        raise ConfigError(
            f"gate.source = {source!r} has no examples here: name a labelled file"
        )
    return found

"""How good the global model is: on the server's test set, at the clients, or both."""

import time
from collections.abc import Iterable, Mapping

from flwr.app import Message

from ..protocols import metrics
from ..protocols.messages import read_metrics
from ..protocols.refusals import Refusal
from .sessions import Session


def on_server(session: Session) -> dict[str, float]:
    """The newest version on the global test set; nothing where there is none."""
    from ..client.evaluation import evaluate

    if not len(session.task.test):
        return {}
    return evaluate(session.base, session.task.test, session.config)


def due(session: Session, number: int, where: str) -> bool:
    """Whether a round is judged there: every so many, and the first and last."""
    settings = session.config.eval
    if settings.where not in (where, "both"):
        return False
    last = session.config.run.rounds
    return number in (0, last) or number % settings.every == 0


def of_clients(
    session: Session, replies: Iterable[Message], nodes: Mapping[int, str]
) -> dict[str, float]:
    """What the clients found on their own validation data."""
    found: dict[str, dict[str, float]] = {}
    for reply in replies:
        name = nodes.get(reply.metadata.src_node_id)
        if name is None or reply.has_error():
            continue
        said = read_metrics(reply.content)
        if isinstance(said, Refusal):
            continue
        numbers = {k: float(v) for k, v in said.items() if not isinstance(v, str)}
        if numbers.get("examples", 0.0) < 1 or numbers["examples"] % 1:
            continue
        found[name] = numbers
        session.roster[name].held = session.model.number
    return metrics.merge(found.values()) if found else {}


def tell(
    session: Session, number: int, found: Mapping[str, Mapping[str, float]]
) -> None:
    """Record a round's evaluations; the server's counts where there are two.

    Args:
        session: the run.
        number: the round; 0 is the base model.
        found: metrics by where they were measured.
    """
    for where in ("clients", "server"):
        if found.get(where):
            metrics = dict(found[where])
            session.record.add("evaluation", round=number, where=where, metrics=metrics)
            session.metrics[number] = metrics


def timed_on_server(session: Session, number: int) -> tuple[dict[str, float], float]:
    """`on_server` where it is due, and the seconds it took."""
    began = time.monotonic()
    found = on_server(session) if due(session, number, "server") else {}
    return found, time.monotonic() - began

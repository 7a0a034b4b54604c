"""How good the global model is: on the server's test set, at the clients, or both."""

import time
from collections.abc import Iterable, Mapping, Sequence

from flwr.app import Message

from ..protocols import metrics, perplexities
from ..protocols.errors import ConfigError, PayloadError
from ..protocols.messages import read_metrics
from ..protocols.refusals import Reason, Refusal
from ..protocols.settings import Config
from .sessions import Session


def on_server(session: Session) -> dict[str, float]:
    """The newest version on the global test set; nothing where there is none.

    Nor where the model is not here to be judged: see `without_network`.
    """
    from ..client.models import Base

    if not len(session.task.test) or not isinstance(session.base, Base):
        return {}
    from ..client.evaluation import evaluate

    return evaluate(session.base, session.task.test, session.config)


def without_network(config: Config) -> bool:
    """Whether a run's server never computes with its model, only merges it.

    Example:
        >>> from fedelta.protocols.settings import Eval
        >>> without_network(Config()), without_network(Config(eval=Eval("clients")))
        (False, True)
    """
    return config.eval.where in ("clients", "none") and config.gate.policy == "off"


def judged(session: Session) -> dict[str, float]:
    """On the global test set; where there is none, on all clients' validation data.

    Raises:
        ConfigError: there is neither.
    """
    from ..client.evaluation import evaluate

    if len(session.task.test):
        return on_server(session)
    parts = (session.task.split(name)[1] for name in session.task.clients)
    found = [evaluate(session.base, one, session.config) for one in parts if len(one)]
    if not found:
        raise ConfigError("nothing to judge by: neither data.test nor data.validation")
    return merged(found)


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
        try:
            merged([numbers])
        except PayloadError:
            session.totals.refused[Reason.BAD_OBJECT] += 1
            continue
        found[name] = numbers
        session.roster[name].held = session.model.number
    return merged(list(found.values())) if found else {}


def merged(replies: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Several data owners' metrics as one's.

    Means count by examples; what language models tell counts by tokens.

    Raises:
        PayloadError: numbers that no evaluation gives.

    Example:
        >>> merged([{"accuracy": 1.0, "examples": 1.0},
        ...         {"accuracy": 0.0, "examples": 3.0}])
        {'accuracy': 0.25, 'examples': 4.0}
    """
    if any(reply.get("examples", 0.0) < 1 for reply in replies):
        raise PayloadError("an evaluation on no examples")
    ours = (perplexities.LOSS, perplexities.PERPLEXITY, perplexities.TOKENS)
    if not any(perplexities.TOKENS in reply for reply in replies):
        return metrics.merge(replies)
    others = [
        {name: one for name, one in reply.items() if name.split("/")[0] not in ours}
        for reply in replies
    ]
    return metrics.merge(others) | perplexities.merge(replies)


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

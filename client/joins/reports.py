"""The status service's answers, as lines for people."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ..failures import OWN_LOG

SHORT = 12


def overview(seen: Any) -> Iterator[str]:
    """The federation in a few lines."""
    yield f"{seen.federation} (fedelta {seen.version}), you are {seen.caller}"
    for one in seen.processes:
        state = f"pid {one.pid}" if one.pid else "DOWN"
        yield f"  {one.name}: {state}, started again {one.restarts} times"
    for one in seen.members:
        yield f"  {one.name}: {one.state}"
    for run in seen.runs:
        where = f"round {run.round} of {run.rounds}" if run.rounds else "before round 1"
        model = f", model {run.model_digest[:SHORT]}" if run.model_digest else ""
        yield f"  run {run.name}: {run.state}, {where}{model}"


def verdicts(reply: Any, log: str = OWN_LOG) -> Iterator[str]:
    """What became of one's contributions, and of the question before round 1.

    Args:
        reply: the service's.
        log: what the client's own log is called, where the reason is in it alone.
    """
    for one in reply.verdicts:
        if one.verdict == "accepted":
            proof = f"merged (manifest {one.manifest[:SHORT]})"
            merged = proof if one.merged else "not merged yet"
            yield (
                f"  round {one.round}: accepted, {one.bytes} bytes, counts for "
                f"{one.weight:g}, payload {one.digest[:SHORT]}, {merged}"
            )
        else:
            when = f"round {one.round}" if one.round else "before round 1"
            said = one.detail.replace(OWN_LOG, log)
            yield f"  {when}: refused, {one.reason}{said and f': {said}'}"


def ledger(events: Iterable[Any]) -> Iterator[str]:
    """What a run has spent of its privacy budget, and one's own, charge by charge.

    Args:
        events: of the run's record.
    """
    for event in events:
        told = json.loads(event.json)
        number = f"  round {told.get('round', 0)}: "
        if event.kind == "privacy":
            yield (
                f"{number}the run has spent epsilon {told['epsilon']:.4g} at delta "
                f"{told['delta']:g}, clip {told['clip']:.4g}"
            )
        elif event.kind == "contribution" and "epsilon" in told.get("metrics", ()):
            yield f"{number}you have spent epsilon {told['metrics']['epsilon']:.4g}"


def line_of(event: Any) -> str:
    """One line of a run's record.

    Example:
        >>> from fedelta.protocols.status.status_pb2 import Event
        >>> line_of(Event(kind="round", json='{"at": 1.5, "round": 2}'))
        '[     1.5 s] round: round=2'
    """
    told = json.loads(event.json)
    at = float(told.pop("at", 0.0))
    told.pop("kind", None)
    rest = " ".join(f"{key}={_short(value)}" for key, value in told.items())
    return f"[{at:8.1f} s] {event.kind}: {rest}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004

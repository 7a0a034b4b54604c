"""The status service's answers, as lines for people."""

import json
from collections.abc import Iterator
from typing import Any

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


def verdicts(reply: Any) -> Iterator[str]:
    """What became of one's contributions."""
    for one in reply.verdicts:
        if one.verdict == "accepted":
            proof = f"merged (manifest {one.manifest[:SHORT]})"
            merged = proof if one.merged else "not merged yet"
            yield (
                f"  round {one.round}: accepted, {one.bytes} bytes, counts for "
                f"{one.weight:g}, payload {one.digest[:SHORT]}, {merged}"
            )
        else:
            yield f"  round {one.round}: refused, {one.reason}: {one.detail}"


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

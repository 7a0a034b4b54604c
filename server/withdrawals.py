"""A run's merges without one contributor: what its replies had changed directly.

From a round on, every merge is computed again without that client's reply, each on the
model that the run had then. What the others trained in later rounds they trained from
a model that held the withdrawn replies: that is not undone, and is said.
"""

import math
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ..aggregators import factors
from ..protocols.errors import CheckpointError, ConfigError
from ..protocols.vectors import Floats
from . import environments, evaluation, files
from .exports import export
from .journal import stem_of
from .recordings import Recording, bring
from .records import Record
from .releases import release
from .sessions import Session
from .verifications import player, sealed
from .versions import Update

FOLDER = "withdrawn"
NOTE = (
    "the other clients' replies of later rounds were trained from models that held "
    "what is withdrawn: they are merged as they were sent, and nothing here undoes "
    "what they learned from it; for that, run again without {client}"
)


def withdraw(folder: Path, client: str, first: int = 1) -> dict[str, Any]:
    """Merge a finished run again without one client; write the model beside it.

    Args:
        folder: the run's; ``withdrawn/CLIENT`` in it is written.
        client: whose replies are left out.
        first: from which round on.

    Returns:
        What is in ``withdrawn/CLIENT/summary.json``.

    Raises:
        ConfigError: the run had no such client, or its merges cannot be told apart.
        CheckpointError: a round's replies are not kept any more.
    """
    environments.prepare()
    tape = Recording.read(Path(folder))
    _allowed(tape, client, first)
    out = tape.folder / FOLDER / stem_of(client)
    out.mkdir(parents=True, exist_ok=True)
    tape.journal.hold()
    try:
        with closing(Record(out / "record.jsonl")) as record:
            session, own = player(tape, record)
            made, told = _merged(session, tape, own, client, first)
            return _written(session, out, own, made, told, client)
    finally:
        tape.journal.release()


def _allowed(tape: Recording, client: str, first: int) -> None:
    there = [
        number
        for number, manifest in sorted(tape.manifests.items())
        if number >= first and client in manifest.get("accepted", {})
    ]
    if not there:
        raise ConfigError(
            f"{tape.folder}: from round {first} on nothing of {client!r} was merged"
        )
    if tape.config.privacy.secure_aggregation:
        raise ConfigError(
            f"{tape.folder}: was merged under masks; only sums are here, and nothing "
            f"of {client!r} can be told apart in them: run again without it"
        )
    if tape.config.privacy.mode == "client":
        raise ConfigError(
            f"{tape.folder}: was merged under noise; a second merge without {client} "
            "beside the first would tell what it sent: run again without it"
        )


def _merged(
    session: Session, tape: Recording, own: list[Update], client: str, first: int
) -> tuple[list[Update], list[dict[str, Any]]]:
    """The updates without a client, and by round what is different."""
    made: list[Update] = []
    told: list[dict[str, Any]] = []
    for number, was in enumerate(own, 1):
        bare = () if number < first else (client,)
        arrivals = sealed(session, tape, number, bare)
        if arrivals.behind():
            raise CheckpointError(f"round {number}: regions keep what they added up")
        left = len(arrivals.accepted)
        out = client in tape.manifests[number].get("accepted", {}) and number >= first
        said: dict[str, Any] = {"round": number, "left_out": out, "replies": left}
        if left:
            found = release(session, arrivals)
            session.states = found.states
            made.append(found.update)
            whole = session.base.starts.completed
            one, other = (whole(x.tensors, number) for x in (found.update, was))
            said["moved"] = _distance(one, other)
        told.append(said)
        states = session.states
        bring(session, own[:number])
        session.states = states
    return made, told


def _written(
    session: Session,
    out: Path,
    own: list[Update],
    made: list[Update],
    told: list[dict[str, Any]],
    client: str,
) -> dict[str, Any]:
    before = _judged(session)
    was = {name: value.copy() for name, value in session.model.weights.items()}
    start = {name: np.array(one) for name, one in session.base.origin().items()}
    bring(session, made)
    moved = math.sqrt(_squares(session.model.weights, was))
    change = math.sqrt(_squares(was, start))
    files.write_json(
        out / "summary.json",
        found := {
            "client": client,
            "rounds": told,
            "moved": moved / change if change else 0.0,
            "metrics": {"with": before, "without": _judged(session)},
            "model_digest": session.model.digest,
            "model": export(session, out / "model"),
            "updates": [len(own), len(made)],
            "note": NOTE.format(client=client),
        },
    )
    return found


def _judged(session: Session) -> Mapping[str, float]:
    try:
        return evaluation.judged(session)
    except ConfigError:  # nothing to judge by
        return {}


def _distance(one: Mapping[str, Floats], other: Mapping[str, Floats]) -> float:
    """How far two updates lie apart, over the length of the second: of products."""
    left, right = _whole(one), _whole(other)
    length = math.sqrt(sum(float(np.sum(v.astype(float) ** 2)) for v in right.values()))
    return math.sqrt(_squares(left, right)) / length if length else 0.0


def _whole(update: Mapping[str, Floats]) -> dict[str, Floats]:
    shapes = factors.shapes(update)
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    factors.fold(weights, update)
    return weights


def _squares(one: Mapping[str, Floats], other: Mapping[str, Floats]) -> float:
    return sum(
        float(np.sum((one[name].astype(float) - other[name]) ** 2))
        for name in sorted(other)
    )

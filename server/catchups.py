"""What brings a client to the newest version: the updates it lacks, or a snapshot.

Whichever is smaller. Both lead to the same bytes.
"""

from dataclasses import dataclass

from ..protocols import digests, snapshots
from .sessions import Session

_LEAST = 0.5
"""Of the weights' own bytes: no snapshot of trained weights was ever smaller."""


@dataclass(frozen=True, slots=True)
class Catchup:
    """What travels to a client beside its plan.

    Attributes:
        updates: digests of updates, oldest first: those that travel, or with a snapshot
            all of them, which name the version.
        snapshot: digest of the snapshot; empty: there is none.
        blobs: the bytes that travel.
    """

    updates: tuple[str, ...]
    snapshot: str
    blobs: tuple[bytes, ...]


def catch_up(session: Session, held: int, version: int | None = None) -> Catchup:
    """The smaller way to the newest version for who holds so many updates.

    Args:
        session: the run.
        held: how many.
        version: the version to lead to; None: the newest. To an earlier one only the
            chain leads.
    """
    model = session.model
    lacking = model.since(held)
    if version is not None and version < model.number:
        some = model.updates[held:version]
        digest = tuple(one.digest for one in some)
        return Catchup(digest, "", tuple(one.data for one in some))
    chain = Catchup(
        tuple(one.digest for one in lacking), "", tuple(one.data for one in lacking)
    )
    size = sum(len(data) for data in chain.blobs)
    touched = 4 * sum(one.size for one in model.weights.values())
    if len(lacking) <= 1 or size < _LEAST * touched:
        return chain
    data = _snapshot(session)
    if len(data) >= size:
        return chain
    every = tuple(one.digest for one in model.updates)
    return Catchup(every, digests.of_bytes(data), (data,))


def _snapshot(session: Session) -> bytes:
    """The newest version's, made once."""
    model = session.model
    if model.snapshot is None or model.snapshot[0] != model.number:
        data = snapshots.encode(
            session.base.origin(), model.weights, model.base, model.digest
        )
        model.snapshot = (model.number, data)
    return model.snapshot[1]

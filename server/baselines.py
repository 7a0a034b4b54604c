"""What the federation is held against: each client alone, and all data in one place.

They are trained by the same workers, as long as all rounds together (those that were
run, where ``eval.early_stop`` ended it), and judged on the global test set. What is
done is kept, so that a killed run need not repeat it.
"""

from collections.abc import Sequence
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from ..protocols.messages import read_metrics
from ..protocols.refusals import Refusal
from . import files
from .journal import stem_of
from .sessions import Session
from .traffic import APART, Watch

_KIND = "train.alone"


def local(session: Session, grid: Grid) -> list[dict[str, Any]]:
    """Metrics of each client's own model, in name order, without those that failed."""
    if not session.config.eval.local or not len(session.task.test):
        return []
    names = [member.name for member in session.roster]
    found = _ask(session, grid, names, "own")
    told = [{"client": name} | found[name] for name in names if name in found]
    for one in told:
        session.record.add("local", client=one["client"], metrics=_metrics(one))
    return told


def central(session: Session, grid: Grid) -> dict[str, Any] | None:
    """Metrics of one model trained on all data; None where it was not asked for."""
    if not session.config.eval.central or not len(session.task.test):
        return None
    first = next(iter(session.roster)).name
    found = _ask(session, grid, [first], "all").get(first)
    if found is not None:
        session.record.add("central", metrics=_metrics(found))
    return found


def _metrics(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name != "client"}


def _ask(
    session: Session, grid: Grid, names: Sequence[str], data: str
) -> dict[str, dict[str, Any]]:
    from ..client.baselines import question

    folder = session.journal.folder / "state" / f"alone-{data}"
    paths = {name: folder / f"{stem_of(name)}.json" for name in names}
    found = {n: files.read_json(path) for n, path in paths.items() if path.exists()}
    asked = {session.roster[name].node: name for name in names if name not in found}
    rounds = session.round  # as long as the run was, stopped or not
    questions = [
        Message(question(data, rounds), node, _KIND, group_id=data) for node in asked
    ]
    watch = Watch(grid, questions)
    for reply in watch.over(grid.send_and_receive(questions) if questions else ()):
        name = asked[reply.metadata.src_node_id]
        said = None if reply.has_error() else read_metrics(reply.content)
        if said is None or isinstance(said, Refusal):
            session.record.add("failure", client=name, what=_KIND)
            continue
        found[name] = dict(said)
        files.write_json(paths[name], found[name])
        session.record.tell({"kind": "alone", "client": name, "data": data})
    watch.tell(session, session.round, APART, asked)
    return found

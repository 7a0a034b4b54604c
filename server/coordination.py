"""A run from its first question to its summary, on any of Flower's grids."""

import sys
from collections.abc import Sequence
from typing import Any, cast

from flwr.app import ArrayRecord
from flwr.serverapp import Grid

from ..client.data import load
from ..client.models import Base, load_base
from ..client.standins import standin
from ..protocols.settings import Config
from . import (
    averages,
    baselines,
    environments,
    evaluation,
    files,
    protections,
    selections,
)
from .boards import Board
from .enrolments import Question, ask, enrol, insist, locate
from .exports import export
from .journal import Journal
from .maskedrounds import MaskedStrategy
from .recordings import bring
from .records import Listener, Record, read
from .rosters import Roster
from .rounds import RoundStrategy, judges
from .runs import introduction, run_id
from .sessions import Session
from .traffic import Watch
from .versions import Versions

RECORD, SUMMARY = "record.jsonl", "summary.json"


def coordinate(
    grid: Grid, config: Config, journal: Journal, listeners: Sequence[Listener] = ()
) -> dict[str, Any]:
    """Run, or go on with, the federation that a folder holds.

    Args:
        grid: reaches the clients.
        config: the run's settings.
        journal: the run's folder, held by this process.
        listeners: called with every line of the record; on resumption with those of
            the committed rounds first.

    Returns:
        What is in `summary.json`.

    Raises:
        ConfigError: data or model that cannot be used.
        RoundError: a round that could not be ended (QuorumError: too few replies).
        CheckpointError: a folder that cannot be resumed from.
    """
    environments.prepare()
    last = journal.last()
    path = journal.folder / RECORD
    if config.run.tensorboard:
        listeners = [*listeners, Board(journal.folder / "tensorboard")]
    record = Record(
        path,
        keep=int(last["record"]) if last else 0,
        before=float(last["seconds"]) if last else 0.0,
        listeners=listeners,
    )
    try:
        for line in read(path):
            record.tell(line)
        session = _open(grid, config, journal, record)
        wait = config.round.deadline_seconds
        selections.check(session.metrics.get(0, {}), config.eval)
        masked = config.privacy.secure_aggregation
        while not selections.over(session):
            rounds = MaskedStrategy if masked else RoundStrategy
            rounds(session).start(grid, ArrayRecord(), num_rounds=1, timeout=wait)
        return _close(session, grid)
    finally:
        record.close()


def _open(grid: Grid, config: Config, journal: Journal, record: Record) -> Session:
    """A session at its last committed round; round 0 is committed here."""
    last, wait = journal.last(), config.round.deadline_seconds
    question = ask(grid, wait) if last is None else None  # workers load meanwhile
    task = load(config)
    base = _base(config, task.labels)
    model = Versions.of(base)
    run = run_id(config)
    session = Session(config, run, task, base, journal, record, Roster(()), model)
    if last is not None:
        session.restore(last)
        nodes = locate(grid, wait)
        session.roster = Roster.of(nodes, last["roster"], config, task.regions)
    elif question is not None:
        _begin(session, question, grid)
    return session


def _base(config: Config, labels: Sequence[str]) -> Base:
    """The base model, with its network only where it is computed with here.

    (Where torch is loaded anyway, for workers in this process, nothing is gained.)
    """
    if evaluation.without_network(config) and "torch" not in sys.modules:
        return cast("Base", standin(config, labels))
    return load_base(config, labels)


def _begin(session: Session, question: Question, grid: Grid) -> None:
    """Introduce the run, judge the base model, enrol who is there."""
    _introduce(session)
    on_server, seconds = evaluation.timed_on_server(session, 0)
    session.totals.spend("evaluation", seconds)

    def layout(client: str) -> str:
        return session.layout(client).fingerprint

    question = insist(grid, question, session.config)
    nodes, members = enrol(
        question, session.model.base, layout, session.record, session.config
    )
    question.watch.tell(session, 0, "query", {n: name for name, n in nodes.items()})
    regions = session.task.regions
    session.roster = Roster.of(nodes, members, session.config, regions)
    protections.begin(session)
    asked = judges(session, 0)
    wait = session.config.round.deadline_seconds
    replies = grid.send_and_receive(asked, timeout=wait) if asked else ()
    named = {one.node: one.name for one in session.roster}
    watch = Watch(grid, asked)
    of_clients = evaluation.of_clients(session, watch.over(replies), named)
    watch.tell(session, 0, "evaluate", named)
    evaluation.tell(session, 0, {"clients": of_clients, "server": on_server})
    session.commit(0)


def _introduce(session: Session) -> None:
    config, task = session.config, session.task
    session.record.add(
        "run",
        **introduction(config, session.run),
        clients=list(task.clients),
        regions=dict(task.regions),
        classes=len(task.labels),
        test_examples=len(task.test),
        parameters=session.base.layout(config).size,
        base=session.model.base,
        environment=environments.describe(),
    )


def _close(session: Session, grid: Grid) -> dict[str, Any]:
    before = session.record.seconds
    local = baselines.local(session, grid)
    central = baselines.central(session, grid)
    session.totals.spend("comparisons", session.record.seconds - before)
    summary = _summary(session, local, central) | _kept(session)
    summary |= protections.summary(session)
    summary |= averages.hand_out(session)
    summary["adapter"] = export(session, session.journal.folder / "model")
    session.record.commit()
    files.write_json(session.journal.folder / SUMMARY, summary)
    return summary


def _kept(session: Session) -> dict[str, Any]:
    """Bring the session to the round that is written out, and say which that is."""
    settings, planned = session.config.eval, session.config.run.rounds
    leader = selections.best(session.metrics, settings.metric)
    said: dict[str, Any] = {}
    if leader:
        said["best"] = {"round": leader, "metrics": session.metrics[leader]}
    if session.round < planned:
        said["stopped"] = {"round": session.round, "planned": planned}
    if settings.keep == "best" and leader:
        bring(session, session.model.updates[:leader])
    kept = {"round": session.model.number, "model_digest": session.model.digest}
    return said | {"kept": kept}


def _summary(
    session: Session, local: list[dict[str, Any]], central: dict[str, Any] | None
) -> dict[str, Any]:
    config, totals = session.config, session.totals
    metrics: dict[str, Any] = {
        "base": session.metrics.get(0, {}),
        "final": session.metrics.get(session.round, {}),
        "local": local,
    }
    if central is not None:
        metrics["central"] = central
    memory = totals.memory()
    return {
        "name": config.run.name,
        "run": session.run,
        "recipe": config.merge.recipe,
        "seed": config.run.seed,
        "rounds": session.round,
        "clients": len(session.roster),
        "metric": config.eval.metric,
        "metrics": metrics,
        "bytes": {key: memory[key] for key in ("up", "down", "up_dense_fp32")},
        "refused": memory["refused"],
        "seconds": round(session.record.seconds, 3),
        "phases": memory["phases"],
        "model_digest": session.model.digest,
        "environment": environments.describe(),
    }

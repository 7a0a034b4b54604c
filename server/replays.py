"""A run's sealed replies merged again, by other recipes, and judged: no training.

What clients sent in round t they trained from the run's own version t - 1. So a
replay takes each round by itself: the model before it is the recorded one, and only
this round's merge is another. A run of one round is replayed whole. Later rounds are
never stacked on replayed ones: nobody trained from those. Nothing is carried from
round to round (what an earlier merge or the way down cut off, a server optimiser's
momentum), with the run's own recipe neither, so that all recipes stand alike.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..aggregators.recipes import recipe
from ..protocols.errors import ConfigError, FedeltaError
from ..protocols.settings import Config
from . import environments, evaluation, files, placements, protections
from .admission import Rules
from .arrivals import Arrivals
from .recordings import CONFIG, SUMMARY, Recording, bring, updates
from .records import Listener, Record
from .releases import release, rules_for
from .rosters import Member
from .runs import introduction
from .sessions import Session
from .variants import Variant, alike
from .versions import Update

if TYPE_CHECKING:
    from ..client.models import Base

FOLDER = "replays"
NOTE = (
    "each round is merged on the recorded model before it; nothing is carried from "
    "one round to the next"
)


@dataclass(slots=True)
class Player:
    """A recording with its base models, one a space, and its own updates.

    Attributes:
        tape: the recording.
        rounds: which rounds are merged again.
        bases: base models by space.
        updates: the run's own updates, oldest first.
    """

    tape: Recording
    rounds: Sequence[int]
    bases: "dict[str, Base]" = field(default_factory=dict)
    updates: list[Update] = field(default_factory=list)

    def base(self, config: Config) -> "Base":
        """The base model in a space; loaded once."""
        from ..client.models import load_base

        space = config.lora.space
        if space not in self.bases:
            self.bases[space] = load_base(config, self.tape.task.labels)
        return self.bases[space]


def replay(
    folder: Path,
    recipes: Sequence[str],
    *,
    rounds: Sequence[int] = (),
    listeners: Sequence[Listener] = (),
    refused: dict[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Merge a finished run's replies again by other recipes, and judge each.

    Args:
        folder: the run's; each replay goes to ``replays/NAME`` in it.
        recipes: texts, ``RECIPE`` or ``RECIPE @ SPACE``.
        rounds: which; none: all whose replies are kept.
        listeners: called with every line of every replay's record.
        refused: takes why which recipes cannot merge these replies; without it the
            first one that cannot ends it all.

    Returns:
        What is in each replay's ``summary.json``, in the order of `recipes`.

    Raises:
        ConfigError: no finished run, no such recipe or round, or no replies are kept.
        CheckpointError: what is on disk is not what the run merged.
        RoundError: a recipe's result cannot be used.
    """
    environments.prepare()
    tape = Recording.read(Path(folder))
    protections.once(tape.config, folder)
    variants, found = list[Variant](), list[dict[str, Any]]()
    for text in recipes:
        with _left_out(text, refused):
            variants.append(Variant.read(text, tape.config.lora.space))
    alike(tape.config, variants)
    names = [one.name for one in variants]
    if not names or len(set(names)) < len(names):
        raise ConfigError("give at least one recipe, and each of them once")
    kept = tape.complete()
    if missing := sorted(set(rounds) - set(kept)):
        raise ConfigError(f"the replies of round {missing[0]} are not kept: {kept}")
    player = Player(tape, sorted(rounds) or kept)
    tape.journal.hold()
    try:
        for one in variants:
            with _left_out(one.recipe, refused):
                found.append(_variant(player, one, listeners))
    finally:
        tape.journal.release()
    return found


@contextmanager
def _left_out(text: str, refused: dict[str, str] | None) -> Iterator[None]:
    """Take down why a recipe is refused; or let it be raised."""
    try:
        yield
    except FedeltaError as error:
        if refused is None:
            raise
        refused[text] = str(error)


def _variant(
    player: Player, variant: Variant, listeners: Sequence[Listener]
) -> dict[str, Any]:
    tape = player.tape
    out = tape.folder / FOLDER / variant.name
    config = variant.of(tape.config, out)
    out.mkdir(parents=True, exist_ok=True)
    (out / SUMMARY).unlink(missing_ok=True)
    files.write_json(out / CONFIG, asdict(config))
    try:
        with closing(Record(out / "record.jsonl", listeners=listeners)) as record:
            _recorded(player, record)
            session = tape.session(player.base(config), config, record)
            _introduce(session, tape)
            for number in player.rounds:
                _round(player, session, number)
            summary = _summary(player, session, variant)
            record.commit()
    except FedeltaError:
        shutil.rmtree(out)
        raise
    files.write_json(out / SUMMARY, summary)
    return summary


def _recorded(player: Player, record: Record) -> None:
    """Read the run's own updates, once."""
    if player.updates:
        return
    tape = player.tape
    session = tape.session(player.base(tape.config), tape.config, record)
    player.updates.extend(updates(session, tape))


def _introduce(session: Session, tape: Recording) -> None:
    config, task = session.config, session.task
    session.record.add(
        "run",
        **introduction(config, session.run),
        space=config.lora.space,
        replay=True,
        clients=list(task.clients),
        parameters=session.base.layout(config).size,
        base=tape.manifests[0]["base"],
        environment=environments.describe(),
    )
    if first := tape.manifests[0]["metrics"].get("0"):
        session.metrics[0] = dict(first)
        session.record.add("evaluation", round=0, metrics=first)


def _round(player: Player, session: Session, number: int) -> None:
    """One round: the recorded model, the sealed replies, another merge."""
    tape, record = player.tape, session.record
    bring(session, player.updates[: number - 1])
    session.states = {}
    asked = [session.roster[name] for name in tape.manifests[number]["accepted"]]
    arrivals = Arrivals(
        number, asked, _rules(session, tape, number, asked), tape.journal, record
    )
    before, made = record.seconds, release(session, arrivals)
    merged = record.seconds
    session.model.add(made.update)
    session.metrics[number] = found = evaluation.judged(session)
    phases = {"merge": merged - before, "evaluation": record.seconds - merged}
    phases = {name: round(one, 3) for name, one in phases.items()}
    record.add("round", round=number, phases=phases, merge=dict(made.report))
    record.add("diagnostics", round=number, **made.diagnostics)
    record.add("evaluation", round=number, metrics=found)


def _rules(
    session: Session, tape: Recording, number: int, asked: Sequence[Member]
) -> dict[str, Rules]:
    """What replies are held to: the run's own settings."""
    recorded = replace(session, config=tape.config)
    return rules_for(recorded, asked, number, tape.journal.since(number))


def _applied(config: Config, variant: Variant) -> dict[str, Any]:
    """What the replies had gone through before they were sealed."""
    done = placements.applied(config)
    given = recipe(variant.recipe)
    if not done or placements.left(given, done) is not given:
        return {"applied": list(done), "note": NOTE}
    parts = " | ".join(done)
    note = f"{NOTE}; clients had applied {parts} to what is merged here"
    return {"applied": list(done), "note": note}


def _summary(player: Player, session: Session, variant: Variant) -> dict[str, Any]:
    tape = player.tape
    recorded = tape.summary["metrics"]
    compared = {key: recorded[key] for key in ("local", "central") if key in recorded}
    return {
        "name": session.config.run.name,
        "run": session.run,
        "recipe": variant.recipe,
        "space": variant.space,
        "seed": session.config.run.seed,
        "rounds": session.config.run.rounds,
        "clients": len(session.roster),
        "replay": {"of": tape.config.run.name, "rounds": list(player.rounds)}
        | _applied(tape.config, variant),
        "metrics": {
            "base": session.metrics.get(0, {}),
            "final": session.metrics[player.rounds[-1]],
            "rounds": {str(n): session.metrics[n] for n in player.rounds},
            **compared,
        },
        "bytes": dict(tape.summary["bytes"]),
        "refused": {},
        "seconds": round(session.record.seconds, 3),
        "model_digest": session.model.digest,
        "environment": environments.describe(),
    }

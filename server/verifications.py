"""A run's merges computed again from what was sealed, and held to what was signed."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..protocols import adverts, chains, digests
from ..protocols.errors import BudgetError, CheckpointError, ConfigError, FedeltaError
from . import environments, outcomes, provenances
from .arrivals import Arrivals
from .journal import Sealed
from .outcomes import Outcome
from .provenances import Proof
from .recordings import Recording, bring, updates
from .records import Record
from .releases import of_merged, release, rules_for
from .sessions import Session
from .versions import Update

EQUAL, OTHER, ABSENT = "equal", "not equal", "not computed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one round.

    Attributes:
        round: which.
        verdict: "equal": what was sealed merges to the very bytes that were released;
            "not equal"; or "not computed", where what was sealed is not all here.
        detail: where it is not equal, or what is missing.
    """

    round: int
    verdict: str
    detail: str = ""


def verify(folder: Path, public: str = "") -> list[Finding]:
    """Hold a finished run's merges to its signed lines, round by round.

    Args:
        folder: the run's; nothing in it is changed.
        public: the coordinator's key (hex), from elsewhere; empty: the folder's.

    Raises:
        ConfigError: the folder holds no finished run.
        CheckpointError: a line was changed, or the base model is another one.
    """
    environments.prepare()
    proofs = provenances.read(folder, public)
    tape = Recording.read(Path(folder))
    tape.journal.hold()
    try:
        with (
            TemporaryDirectory() as there,
            closing(Record(Path(there) / "record.jsonl")) as record,
        ):
            return list(_rounds(tape, proofs, record))
    finally:
        tape.journal.release()


def included(folder: Path, client: str, public: str = "") -> list[dict[str, Any]]:
    """What a run's signed lines say of one client, round by round.

    Raises:
        ConfigError: no line speaks of that client.
        CheckpointError: a line was changed.
    """
    found = [
        {"round": proof.round, "line": proof.digest, **one}
        for proof in provenances.read(folder, public)
        for one in proof.said["contributions"]
        if one["client"] == client
    ]
    if not found:
        raise ConfigError(f"{folder}: no round speaks of {client!r}")
    return found


def player(tape: Recording, record: Record) -> tuple[Session, list[Update]]:
    """A run's session before its first round, and its own updates."""
    from ..client.models import load_base

    base = load_base(tape.config, tape.task.labels)
    session = tape.session(base, tape.config, record)
    own = updates(session, tape)
    bring(session, ())
    return session, own


def sealed(
    session: Session, tape: Recording, number: int, without: Sequence[str] = ()
) -> Arrivals:
    """A round's sealed replies as they were merged.

    Raises:
        CheckpointError: one is not there, or is not what was sealed.
    """
    wanted = tape.manifests[number].get("accepted", {})
    there = tape.journal.sealed(number)
    for name, digest in wanted.items():
        if name not in there:
            raise CheckpointError(f"the reply of {name} is not kept")
        if there[name].note["digest"] != digest:
            raise CheckpointError(f"the reply of {name} is another one")
    asked = [session.roster[name] for name in wanted if name not in without]
    rules = rules_for(session, asked, number, tape.journal.since(number))
    return Arrivals(number, asked, rules, tape.journal, session.record)


def _rounds(
    tape: Recording, proofs: Sequence[Proof], record: Record
) -> Iterator[Finding]:
    session, own = player(tape, record)
    _same_run(session, tape, proofs)
    told = {proof.round: proof for proof in proofs}
    compute = _opened if session.config.privacy.secure_aggregation else _merge
    whole = True
    for number in range(1, len(own) + 1):
        proof = told.get(number)
        if proof is None:
            yield Finding(number, OTHER, "no line speaks of this round")
        elif found := _papers(session, tape, proof, own[number - 1]):
            yield Finding(number, OTHER, found)
        elif not whole:
            yield Finding(number, ABSENT, "an earlier round was not computed")
        else:
            finding = compute(session, tape, proof, own[number - 1])
            whole = finding.verdict != ABSENT
            yield finding
        states = session.states
        bring(session, own[:number])
        session.states = states


def _same_run(session: Session, tape: Recording, proofs: Sequence[Proof]) -> None:
    kept = tape.last.get("provenance", {}).get("digest")
    if proofs[-1].digest != kept:
        raise CheckpointError(
            f"{tape.folder}: the last line is not the one that the last round committed"
        )
    first = proofs[0].said
    if first["run"] != session.run or first["base"] != session.model.base:
        raise CheckpointError(f"{tape.folder}: the lines are another run's")


def _papers(session: Session, tape: Recording, proof: Proof, update: Update) -> str:
    """What of a round's files is not what its line says; empty: nothing."""
    manifest = tape.manifests[proof.round]
    accepted = {
        one["client"]: one["digest"]
        for one in proof.said["contributions"]
        if one["verdict"] == "accepted"
    }
    if manifest.get("accepted", {}) != accepted:
        return "the manifest names other replies than the signed line"
    if manifest["model_digest"] != proof.said["model"]:
        return "the manifest names another model than the signed line"
    if digests.of_bytes(update.data) != proof.said["update"]:
        return "the update is not the one that was signed"
    return _unsigned(session, proof)


def _unsigned(session: Session, proof: Proof) -> str:
    """Whose signature does not hold; empty: nobody's. Under masks it is an advert's."""
    if session.config.privacy.secure_aggregation:
        return ""
    for one in proof.said["contributions"]:
        signer, signature = one.get("signer", ""), one.get("signature", "")
        text = chains.contribution(session.run, one["client"], one["digest"])
        if signer and not chains.holds(signer, signature, text):
            return f"{one['client']} did not sign the reply that the line names"
    return ""


def _opened(session: Session, tape: Recording, proof: Proof, own: Update) -> Finding:
    """Read a masked round's merge off the sums that were kept."""
    from .maskedrounds import update

    number = proof.round
    try:
        outcome = outcomes.kept(session, number)
        if outcome is None:
            return Finding(number, ABSENT, "the sums that were opened are not kept")
        if found := _other(session, proof, outcome):
            return Finding(number, OTHER, found)
        asked = [session.roster[name] for name in outcome.survivors]
        arrivals = Arrivals(number, asked, {}, tape.journal, session.record)
        for name in outcome.survivors:
            arrivals.take(Sealed(name, Path(), {"bytes": 0, "down": 0}))
        made = of_merged(session, update(session, outcome), arrivals)
    except FedeltaError as error:
        return Finding(number, OTHER, f"the kept sums are not this round's: {error}")
    session.states = made.states
    if made.update.digest != own.digest:
        return Finding(number, OTHER, _where(made.update, own))
    return Finding(number, EQUAL, "read off the opened sums")


def _other(session: Session, proof: Proof, outcome: Outcome) -> str:
    """What of kept sums is not what a line says of them; empty: nothing.

    Raises:
        AbortError: an advert that its client did not sign for these terms.
    """
    said = {one["client"]: one for one in proof.said["contributions"] if one["share"]}
    if said.keys() != set(outcome.survivors):
        return "the kept sums are of other clients"
    if outcome.terms.base != session.model.base:
        return "the terms name another model to start from"
    pins = {name: one.get("signer", "") for name, one in said.items()}
    for advert in outcome.adverts:
        adverts.verify(advert, outcome.terms, pins)
    for name, one in said.items():
        wanted = {"digest": outcome.digest(name)} | outcome.signed(name)
        if not wanted.items() <= one.items():
            return f"the line names other terms than those that {name} signed"
    return ""


def _merge(session: Session, tape: Recording, proof: Proof, own: Update) -> Finding:
    number = proof.round
    try:
        arrivals = sealed(session, tape, number)
        if arrivals.behind():
            return Finding(number, ABSENT, "regions keep what they added up")
        guarded = session.config.privacy
        if guarded.mode == "client":  # charged already: the ledger must not grow
            strict = replace(guarded, epsilon=1e-300)
            session.config = replace(session.config, privacy=strict)
        made = release(session, arrivals)
    except BudgetError:
        return Finding(number, OTHER, "the ledger has no charge for these replies")
    except CheckpointError as error:
        return Finding(number, ABSENT, str(error))
    except FedeltaError as error:
        return Finding(number, OTHER, f"what was sealed does not merge: {error}")
    session.states = made.states
    if made.update.digest != own.digest:
        return Finding(number, OTHER, _where(made.update, own))
    return Finding(number, EQUAL)


def _where(made: Update, own: Update) -> str:
    """The first tensor that differs."""
    for name in sorted(own.tensors):
        if name not in made.tensors or bytes(made.tensors[name].data) != bytes(
            own.tensors[name].data
        ):
            return f"the replies merge to another {name}"
    return "the replies merge to other bytes of the same tensors"

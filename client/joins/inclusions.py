"""Whether what an institution signed is in a run's lines, as it signed it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...protocols import chains
from ...protocols.errors import ConfigError
from .. import signatures
from .checks import Finding
from .folders import JoinFolder

PUBLIC = "provenance.pub"


def inclusions(folder: JoinFolder, lines: Path, key: str = "") -> Iterator[Finding]:
    """Hold a run's signed lines to what this institution kept of what it signed.

    Args:
        folder: the institution's.
        lines: the run's ``provenance.jsonl``, from the coordinator.
        key: the coordinator's public key (hex), from elsewhere; empty: what lies
            beside the lines.

    Raises:
        ConfigError: a file cannot be read.
        CheckpointError: a line is not what the coordinator signed.
    """
    try:
        data = lines.read_bytes()
        public = key or lines.with_name(PUBLIC).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{lines}, or {PUBLIC} beside it: {error}") from error
    found = chains.proofs(data, public, str(lines))
    run = str(found[0].said["run"]) if found else ""
    ours, name = _kept(folder, run), folder.invitation.name
    for proof in found[1:]:
        signed = [one for one in ours if one["round"] == proof.round]
        told = [one for one in proof.said["contributions"] if one["client"] == name]
        if signed or told:
            good, said = _judged(folder, signed, told)
            yield Finding(f"round {proof.round}", good, said)


def _judged(folder: JoinFolder, signed: list[Any], told: list[Any]) -> tuple[bool, str]:
    """Whether a round's line says what was signed here, and how to say so."""
    if not told:
        return False, "something was signed here, and the line does not speak of it"
    line: Mapping[str, Any] = told[0]
    if line["verdict"] != "accepted":
        return True, f"{line['verdict']} ({line['reason']}): nothing of it is in"
    if not line.get("signature"):
        return False, "in, and unsigned: this is not what was sent from here"
    if line["signer"] != signatures.public_of(folder.signing):
        return False, "signed by another key than this institution's"
    if line["signature"] not in {one["signature"] for one in signed}:
        return False, "nothing was kept here of what it names: state of another time?"
    return True, f"in, as it was signed here, with a share of {line['share']}"


def _kept(folder: JoinFolder, run: str) -> list[Any]:
    path = folder.state / "runs" / run / signatures.SENT
    texts = path.read_bytes().splitlines() if path.exists() else []
    return [one for one in map(json.loads, texts) if one["run"] == run]

"""What was merged into what: a signed line a round, each naming the one before it.

The line is written before the manifest that commits its round, which keeps the file's
length, so that a crash leaves no line of a round that was not. The key is this run's
own unless the coordinator puts another in its place before the first round: whoever
wants to be sure that nobody wrote the lines again must have its public half, or the
digest of a line, from elsewhere. docs/provenance.md says what follows from what.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..protocols import chains
from ..protocols.chains import Proof
from ..protocols.errors import CheckpointError
from . import files

__all__ = ["Proof", "contributions", "extend", "ledger", "read"]

FILE, KEY, PUBLIC = "provenance.jsonl", "provenance.key", "provenance.pub"


def extend(folder: Path, said: Mapping[str, Any], kept: Mapping[str, Any]) -> Any:
    """Write a round's line.

    Args:
        folder: the run's.
        said: what it says, JSON-able.
        kept: what the last committed round's manifest keeps of the file; empty: none.

    Returns:
        What this round's manifest is to keep: the line's digest, the file's length.
    """
    key = _key(folder)
    body = {**said, "before": kept.get("digest", "")}
    line = chains.line(body, key)
    path = folder / FILE
    path.touch()
    with path.open("r+b") as file:
        file.truncate(int(kept.get("length", 0)))
        file.seek(0, os.SEEK_END)
        file.write(chains.canonical(line) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return {"digest": line["digest"], "length": path.stat().st_size}


def contributions(record: Path, start: int, shares: Mapping[str, int]) -> list[Any]:
    """Verdicts that a record tells from a byte on, by client and as they came.

    Args:
        record: ``record.jsonl``.
        start: its length when the last round was committed.
        shares: what an accepted one counts for.
    """
    with record.open("rb") as file:
        file.seek(start)
        lines = [json.loads(text) for text in file.read().splitlines()]
    told = {one["client"]: one for one in lines if one["kind"] == "contribution"}
    return [
        {
            "client": name,
            "digest": one.get("digest") or "",
            "share": min(int(one.get("weight") or 0), shares.get(name, 0))
            if one["verdict"] == "accepted"
            else 0,
            "verdict": one["verdict"],
            "reason": one.get("reason") or "",
            "signer": one.get("signer") or "",
            "signature": one.get("signature") or "",
        }
        for name, one in sorted(told.items())
    ]


def read(folder: Path, public: str = "") -> list[Proof]:
    """A run's lines, each held to its signature and to the one before it.

    Args:
        folder: the run's.
        public: the key that they must be signed by (hex); empty: the folder's own.

    Raises:
        CheckpointError: there are none, or one is not what was signed.
    """
    path, own = folder / FILE, folder / PUBLIC
    if not path.exists():
        raise CheckpointError(f"{path}: this run has no provenance")
    if not (public or own.exists()):
        raise CheckpointError(f"{own}: the public key is missing; give it by --key")
    key = public or own.read_text("ascii").strip()
    return chains.proofs(path.read_bytes(), key, str(path))


def ledger(folder: Path) -> str:
    """Digest of the newest charge of a run's privacy ledger; empty: there is none."""
    path = folder / "privacy" / "ledger.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    return str(json.loads(lines[-1])["digest"]) if lines else ""


def _key(folder: Path) -> Ed25519PrivateKey:
    """The run's key; made where there is none yet, with its public half beside it."""
    path = folder / KEY
    if not path.exists():
        files.write(
            path, Ed25519PrivateKey.generate().private_bytes_raw(), private=True
        )
    key = Ed25519PrivateKey.from_private_bytes(path.read_bytes())
    own = folder / PUBLIC
    if not own.exists():
        raw = key.public_key().public_bytes_raw()
        files.write(own, f"{raw.hex()}\n".encode())
    return key

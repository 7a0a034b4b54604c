"""What run folders say, as the status service tells it: read only, at any time.

A run may be written while it is read: records are read up to the last whole line, and
manifests are whole or not there.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...protocols import digests
from ...protocols.errors import ConfigError
from ...protocols.status import status_pb2 as messages
from ..holders import holder
from ..records import Line

OWN = frozenset({"contribution", "enrolment", "local", "failure"})
"""Kinds of lines that speak of one client: told to that client alone."""
JUDGED = frozenset({"contribution", "enrolment"})
"""Of those, the ones that are verdicts."""
INNER = frozenset({"diagnostics"})
"""Kinds of lines that compare clients: the coordinator's alone."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder.

    Attributes:
        path: where it is.
    """

    path: Path

    @property
    def name(self) -> str:
        """What people call the run: its folder's name."""
        return self.path.name

    def lines(self) -> list[Line]:
        """The record's whole lines."""
        return [json.loads(text) for text in whole_lines(self.path / "record.jsonl")]

    def manifests(self) -> Iterator[tuple[int, Mapping[str, Any], str]]:
        """Committed rounds: number, manifest, and the manifest's digest."""
        for path in sorted((self.path / "journal").glob("round-*/manifest.json")):
            data = path.read_bytes()
            number = int(path.parent.name.removeprefix("round-"))
            yield number, json.loads(data), digests.of_bytes(data)


def runs(root: Path) -> list[RunFolder]:
    """A host's runs, the newest first."""
    found = [one.parent for one in root.glob("*/config.json")]
    found.sort(key=lambda path: (path / "config.json").stat().st_mtime, reverse=True)
    return [RunFolder(path) for path in found]


def named(root: Path, name: str) -> RunFolder:
    """One run by its name; the newest without one.

    Raises:
        ConfigError: there is none.
    """
    found = runs(root)
    for one in found:
        if not name or one.name == name:
            return one
    there = ", ".join(one.name for one in found) or "none yet"
    raise ConfigError(f"there is no run {name!r}: there is {there}")


def visible(line: Mapping[str, Any], caller: str | None) -> bool:
    """Whether a line of the record is for a caller; None: the coordinator.

    Example:
        >>> visible({"kind": "contribution", "client": "a"}, "b")
        False
    """
    if caller is None:
        return True
    if line["kind"] in INNER or "epsilon" in line.get("merge", ()):
        return False  # how many took part is told without noise
    return line["kind"] not in OWN or line.get("client") == caller


def describe(run: RunFolder) -> Any:
    """A run in one message."""
    lines = run.lines()
    begun = next((line for line in lines if line["kind"] == "run"), {})
    last = max((number for number, _, _ in run.manifests()), default=0)
    done = (run.path / "summary.json").exists()
    return messages.Run(
        name=run.name,
        run=str(begun.get("run", "")),
        round=last,
        rounds=int(begun.get("rounds", 0)),
        state="finished" if done else "running" if holder(run.path) else "stopped",
        model_digest=_newest(lines),
    )


def verdicts(run: RunFolder, client: str) -> Any:
    """What became of one client's contributions, with what proves it.

    Round 0 is its enrolment, where that was refused.
    """
    reply = messages.VerdictsReply(run=run.name)
    proofs = {number: (told, digest) for number, told, digest in run.manifests()}
    for line in run.lines():
        if line["kind"] not in JUDGED or line["client"] != client:
            continue
        number = line.get("round", 0)
        told, manifest = proofs.get(number, ({}, ""))
        digest = str(line.get("digest") or "")
        merged = bool(digest) and told.get("accepted", {}).get(client) == digest
        reply.verdicts.add(
            round=number,
            verdict=line["verdict"],
            reason=line.get("reason") or "",
            detail=line.get("detail") or "",
            bytes=int(line.get("bytes", 0)),
            weight=float(line.get("weight") or 0.0),
            digest=digest,
            merged=merged,
            manifest=manifest if merged else "",
            model_digest=str(told.get("model_digest", "")) if merged else "",
        )
    return reply


def releases(run: RunFolder) -> Any:
    """The versions that a run has released, of committed rounds alone."""
    reply = messages.ReleasesReply(run=run.name)
    committed = {number for number, _, _ in run.manifests()}
    for line in run.lines():
        if line["kind"] == "release" and line["round"] in committed:
            reply.releases.add(
                round=line["round"],
                digest=line["digest"],
                update=line["update"],
                bytes=line["bytes"],
            )
    return reply


def model(run: RunFolder) -> list[Path]:
    """The files of a run's model, in name order.

    Raises:
        ConfigError: the run has not finished.
    """
    folder = run.path / "model"
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    if not found or not (run.path / "summary.json").exists():
        raise ConfigError(f"run {run.name!r} has not released its model yet")
    return found


def whole_lines(path: Path) -> list[str]:
    """Lines of a file that end with a line feed."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return data[: data.rfind(b"\n") + 1].decode("utf-8").splitlines()


def _newest(lines: list[Line]) -> str:
    found = [str(line["digest"]) for line in lines if line["kind"] == "release"]
    return found[-1] if found else ""

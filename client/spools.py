"""A folder between a node and the process that answers for it: questions and answers.

A question is a file, its answer another; each is there whole or not at all, so either
side may be killed and started again. A run's questions lie in a folder of its own,
beside the configuration that its server sent.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..protocols import digests
from ..protocols.disks import write
from ..protocols.errors import ContributionError

PAUSE = 0.1
"""Seconds between looks."""
_GOOD, _BAD = b"\x00", b"\x01"


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        path: its file.
    """

    path: Path

    @property
    def data(self) -> bytes:
        """What is asked."""
        return self.path.read_bytes()

    @property
    def age(self) -> float:
        """Seconds since it was asked."""
        return time.time() - self.path.stat().st_mtime

    def answer(self, data: bytes) -> None:
        """Answer it."""
        write(self.path.with_suffix(".answer"), _GOOD + data)

    def refuse(self, why: str) -> None:
        """Say why there is no answer."""
        write(self.path.with_suffix(".answer"), _BAD + why[:200].encode())


@dataclass(frozen=True, slots=True)
class Spool:
    """Questions of one run.

    Attributes:
        folder: where they lie.

    Example:
        >>> import tempfile
        >>> spool = Spool.of(Path(tempfile.mkdtemp()), "{}")
        >>> spool.put("1", b"who?").answer(b"me")
        >>> spool.take("1", 1.0), list(spool.open())
        (b'me', [])
    """

    folder: Path

    @classmethod
    def of(cls, root: Path, config: str) -> "Spool":
        """The spool of a run's configuration; it is made where it is not there."""
        spool = cls(root / digests.of_bytes(config.encode())[:16])
        if not (spool.folder / "config.json").exists():
            write(spool.folder / "config.json", config.encode())
        return spool

    @property
    def config(self) -> str:
        """The run's configuration."""
        return (self.folder / "config.json").read_text("utf-8")

    def put(self, name: str, data: bytes) -> Question:
        """Ask something under a name of its own."""
        question = Question(self.folder / f"{name}.ask")
        if not question.path.exists():
            write(question.path, data)
        return question

    def take(self, name: str, seconds: float) -> bytes:
        """Wait for an answer; question and answer are gone then.

        Raises:
            ContributionError: there is none in time, or it says why there is none.
        """
        path, limit = self.folder / f"{name}.answer", time.monotonic() + seconds
        try:
            while not path.exists():
                if time.monotonic() > limit:
                    raise ContributionError(
                        "the region's server did not answer in time"
                    )
                time.sleep(PAUSE)
            said = path.read_bytes()
        finally:
            path.with_suffix(".ask").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        if said[:1] != _GOOD:
            raise ContributionError(said[1:].decode("utf-8", "replace"))
        return said[1:]

    def open(self) -> Iterator[Question]:
        """The questions without an answer, the oldest first."""
        found = [(one.stat().st_mtime, one) for one in self.folder.glob("*.ask")]
        for _, path in sorted(found):
            if not path.with_suffix(".answer").exists():
                yield Question(path)


def spools(root: Path) -> list[Spool]:
    """All runs' spools.

    Example:
        >>> spools(Path("/nowhere/at/all"))
        []
    """
    return [Spool(one.parent) for one in sorted(root.glob("*/config.json"))]

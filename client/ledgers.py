"""What has been spent of a privacy budget: one file, written before anything is shown.

A charge is on disk, fsynced, before the noisy value that it pays for leaves the
function that makes it. So a crash can leave a charge without a release, never a release
without a charge. A charge names what it was for; the same again (a round that a resumed
run repeats, with the same replies and so the same noise) costs nothing more, anything
else does. Lines are chained by digest: one that was taken out or changed is found.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..protocols import digests
from ..protocols.disks import sync
from ..protocols.errors import BudgetError, CheckpointError
from . import accountants
from .accountants import Event

FILE = "ledger.jsonl"


@dataclass(frozen=True, slots=True)
class Charge:
    """One release that is about to be made.

    Attributes:
        mechanism: what makes it, such as "client" or "record".
        round: in which round.
        subject: digest of what is released: equal exactly where the same bytes are.
        event: what it costs.
    """

    mechanism: str
    round: int
    subject: str
    event: Event


class Ledger:
    """A budget's ledger on disk.

    Args:
        path: the file; it need not be there yet.
        delta: the chance that is left.
        budget: epsilon that must not be exceeded; 0: none.

    Raises:
        CheckpointError: the file was changed after it was written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "ledger.jsonl"
        >>> ledger = Ledger(path, delta=1e-5, budget=1.0)
        >>> ledger.charge(Charge("client", 1, "aa", Event(10.0))) < 0.5
        True
        >>> Ledger(path, delta=1e-5).spent == ledger.spent
        True
    """

    def __init__(self, path: Path, delta: float, budget: float = 0.0) -> None:
        self._path, self._delta, self._budget = path, delta, budget
        self._lines = _read(path)
        last = self._lines[-1] if self._lines else {"delta": delta, "epsilon": 0.0}
        known = last["delta"] == delta
        self.spent = float(last["epsilon"]) if known else self.after(None)

    @property
    def head(self) -> str:
        """Digest of the last line, and through it of all; empty before the first."""
        return str(self._lines[-1]["digest"]) if self._lines else ""

    @property
    def count(self) -> int:
        """How many releases were charged."""
        return len(self._lines)

    def events(self) -> list[Event]:
        """All that was charged."""
        return [Event(**line["event"]) for line in self._lines]

    def after(self, event: Event | None) -> float:
        """Epsilon when an event more has been charged."""
        more = [] if event is None else [event]
        return accountants.epsilon([*self.events(), *more], self._delta)

    def charge(self, charge: Charge) -> float:
        """Charge a release, for good; what has been spent with it.

        Raises:
            BudgetError: it would exceed the budget: nothing may be released.
        """
        said = {
            "mechanism": charge.mechanism,
            "round": charge.round,
            "subject": charge.subject,
            "event": {
                "multiplier": charge.event.multiplier,
                "rate": charge.event.rate,
                "times": charge.event.times,
            },
        }
        if any(said.items() <= line.items() for line in self._lines):
            return self.spent
        spent = self.after(charge.event)
        if self._budget and spent > self._budget:
            raise BudgetError(
                f"round {charge.round} would bring epsilon to {spent:.4g} (delta "
                f"{self._delta:g}), the budget is {self._budget:g}: {self.spent:.4g} "
                "is spent, and nothing more is released"
            )
        line = said | {"epsilon": spent, "delta": self._delta, "before": self.head}
        line["digest"] = _digest(line)
        self._append(line)
        self.spent = spent
        return spent

    def _append(self, line: Mapping[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        whole = "".join(json.dumps(one) + "\n" for one in self._lines)
        text = json.dumps(line) + "\n"
        with self._path.open("r+b" if self._path.exists() else "xb") as file:
            file.truncate(len(whole.encode()))  # what a crash left half written
            file.seek(0, os.SEEK_END)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        sync(self._path.parent)
        self._lines.append(dict(line))


def _read(path: Path) -> list[dict[str, Any]]:
    """The charged lines; one that a crash left half written was never relied on."""
    if not path.exists():
        return []
    data = path.read_bytes()
    lines: list[dict[str, Any]] = []
    before = ""
    for place, text in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):
        try:
            line = json.loads(text)
            bare = {key: value for key, value in line.items() if key != "digest"}
            whole = line["digest"] == _digest(bare) and line["before"] == before
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path}, line {place}: is no charge") from error
        if not whole:
            raise CheckpointError(f"{path}, line {place}: is not what was written")
        before = line["digest"]
        lines.append(line)
    return lines


def _digest(line: Mapping[str, Any]) -> str:
    return digests.of_bytes(json.dumps(line, sort_keys=True).encode())

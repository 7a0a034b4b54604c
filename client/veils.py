"""What a client keeps on disk of a masked round: secrets for its time, marks for good.

The state of a round is readable by its owner alone and is deleted when its last sum is
opened, or when a newer round begins. What was opened stays marked, so that the same
contributions are never opened over other survivors, whose difference would be a client.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..protocols.aborts import Abort, stop
from ..protocols.disks import write
from ..protocols.terms import Terms
from .maskers import Masker

Reals = npt.NDArray[np.float32]


class Veils:
    """One client's masked rounds of one run.

    Args:
        home: the client's folder for the run.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "masks"

    def begin(self, masker: Masker) -> None:
        """Keep a new round's secrets; those of other rounds and attempts are gone."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        for path in self._folder.glob("*.state*"):
            path.unlink()
        self.keep(masker)

    def keep(self, masker: Masker) -> None:
        """Write down where a round is."""
        write(self._state(masker.terms.round), masker.to_json().encode())
        self._state(masker.terms.round).chmod(0o600)

    def read(self, run: str, number: int, attempt: str) -> Masker:
        """Where a round is.

        Raises:
            AbortError: WRONG_STEP or REPLAYED, there is no such round, or another
                attempt at it.
        """
        path = self._state(number)
        if not path.exists():
            stop(Abort.WRONG_STEP, f"no secrets are kept here for round {number}")
        found = Masker.from_json(path.read_text("utf-8"))
        if (found.terms.run, found.terms.attempt) != (run, attempt):
            stop(Abort.REPLAYED, f"of another attempt at round {number}")
        return found

    def keep_values(self, number: int, values: Reals) -> None:
        """Keep a contribution until its counts are opened."""
        path = self._state(number).with_suffix(".state.values")
        write(path, np.ascontiguousarray(values, "<f4").tobytes())
        path.chmod(0o600)

    def values(self, number: int) -> Reals:
        """What `keep_values` kept."""
        path = self._state(number).with_suffix(".state.values")
        return np.frombuffer(path.read_bytes(), "<f4").astype(np.float32)

    def spend(self, terms: Terms, opening: int, survivors: Sequence[str]) -> None:
        """Mark a sum as opened, before it is.

        Raises:
            AbortError: SPENT, it was opened over others, or on other terms.
        """
        path = self._folder / f"{terms.round:04d}.{opening}.spent"
        alike = replace(terms, attempt="").digest
        mark = json.dumps({"terms": alike, "survivors": sorted(survivors)})
        if path.exists() and path.read_text("utf-8") != mark:
            stop(
                Abort.SPENT,
                f"round {terms.round} was opened over others: the difference of two "
                "sums would be somebody's own",
            )
        write(path, mark.encode())

    def end(self, number: int) -> None:
        """Forget a round's secrets."""
        for path in self._folder.glob(f"{number:04d}.state*"):
            path.unlink()

    def _state(self, number: int) -> Path:
        return self._folder / f"{number:04d}.state"

"""Why a masked round is given up: each way out has a name, and opens nothing."""

from enum import StrEnum
from typing import NoReturn

from .errors import RoundError


class Abort(StrEnum):
    """The names under which a masked round, or one client's part in it, ends."""

    TOO_FEW = "TOO_FEW"
    WRONG_TERMS = "WRONG_TERMS"
    WRONG_ROUND = "WRONG_ROUND"
    WRONG_STEP = "WRONG_STEP"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    STRANGER = "STRANGER"
    REPLAYED = "REPLAYED"
    DUPLICATE_KEY = "DUPLICATE_KEY"
    BAD_KEY = "BAD_KEY"
    BAD_SEAL = "BAD_SEAL"
    COMMITMENT_MISMATCH = "COMMITMENT_MISMATCH"
    INCONSISTENT_SHARE = "INCONSISTENT_SHARE"
    WRONG_SURVIVORS = "WRONG_SURVIVORS"
    BELOW_RELEASE = "BELOW_RELEASE"
    SPENT = "SPENT"
    OUT_OF_BOUND = "OUT_OF_BOUND"
    LANE_RANGE = "LANE_RANGE"


class AbortError(RoundError):
    """A step of the protocol that is not taken.

    Args:
        abort: the name.
        detail: one clause; it quotes nothing secret.

    Example:
        >>> str(AbortError(Abort.TOO_FEW, "2 are left, 3 are needed"))
        'TOO_FEW: 2 are left, 3 are needed'
    """

    def __init__(self, abort: Abort, detail: str) -> None:
        super().__init__(f"{abort}: {detail}")
        self.abort = abort


def stop(abort: Abort, detail: str) -> NoReturn:
    """Raise an `AbortError`."""
    raise AbortError(abort, detail)

"""Why something that came from outside is not used."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

LONGEST = 200
"""Characters of a detail: it may quote what a stranger wrote."""


class Reason(StrEnum):
    """The names under which refusals are counted."""

    CLIENT_ERROR = "CLIENT_ERROR"
    TIMEOUT = "TIMEOUT"
    LATE = "LATE"
    UPLOAD_STALLED = "UPLOAD_STALLED"
    INFLATED_SIZE = "INFLATED_SIZE"
    BAD_OBJECT = "BAD_OBJECT"
    UNEXPECTED_RECORD = "UNEXPECTED_RECORD"
    MISSING_PAYLOAD = "MISSING_PAYLOAD"
    SPOOFED_METADATA = "SPOOFED_METADATA"
    DUPLICATE = "DUPLICATE"
    STALE_ROUND = "STALE_ROUND"
    WRONG_ROUND = "WRONG_ROUND"
    WRONG_RUN = "WRONG_RUN"
    WRONG_CLIENT = "WRONG_CLIENT"
    WRONG_BASE = "WRONG_BASE"
    WRONG_SCHEMA = "WRONG_SCHEMA"
    BAD_VERSION = "BAD_VERSION"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    REVOKED = "REVOKED"
    BAD_DIGEST = "BAD_DIGEST"
    BAD_HEADER = "BAD_HEADER"
    HEADER_SIZE = "HEADER_SIZE"
    BAD_OFFSETS = "BAD_OFFSETS"
    SHAPE_MISMATCH = "SHAPE_MISMATCH"
    SHAPE_OVERFLOW = "SHAPE_OVERFLOW"
    KEYS_MISMATCH = "KEYS_MISMATCH"
    BAD_DTYPE = "BAD_DTYPE"
    BAD_STREAM = "BAD_STREAM"
    BAD_SCALE = "BAD_SCALE"
    NON_FINITE = "NON_FINITE"
    NORM_CAP = "NORM_CAP"
    INDEX_RANGE = "INDEX_RANGE"
    INDEX_DUPLICATE = "INDEX_DUPLICATE"
    LENGTH_MISMATCH = "LENGTH_MISMATCH"
    TOO_DENSE = "TOO_DENSE"
    NOT_CANONICAL = "NOT_CANONICAL"
    BAD_WEIGHT = "BAD_WEIGHT"
    BAD_MEMBERS = "BAD_MEMBERS"
    PLANE_RANGE = "PLANE_RANGE"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A verdict: not used, and why.

    Attributes:
        reason: the name it is counted under.
        detail: one clause for the log.
    """

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


class RefusedError(Exception):
    """Carries a refusal up to the function that returns it; never leaves this folder.

    Args:
        reason: the name it is counted under.
        detail: one clause for the log.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.refusal = Refusal(reason, ascii(detail)[1:-1][:LONGEST])


def refuse(reason: Reason, detail: str = "") -> NoReturn:
    """Raise a `RefusedError`."""
    raise RefusedError(reason, detail)

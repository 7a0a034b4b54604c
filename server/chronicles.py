"""A run's record as a log: a line as things happen, with run, round and client."""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from .records import Line

LOG = logging.getLogger("fedelta.run")
SAID: Mapping[str, str] = {
    "run": "the run begins",
    "asked": "clients are asked",
    "round": "the round is merged",
    "release": "a new version is released",
    "evaluation": "a version was judged",
    "enrolment": "a client cannot take part",
    "local": "a client alone was judged",
    "central": "all data in one place was judged",
}


class Chronicle(AbstractContextManager["Chronicle"]):
    """A listener that logs each line of the record.

    What fits in a log goes along: numbers, words, and tables of them.
    """

    def __init__(self) -> None:
        self._run: str | None = None

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def __call__(self, line: Line) -> None:
        """Log one line."""
        if line["kind"] == "run":
            self._run = str(line["run"])
        told = {key: value for key, value in line.items() if _plain(value)}
        told["seconds_since_start"] = told.pop("at", None)
        told["run"] = self._run
        refused = line.get("verdict") == "refused"
        level = logging.WARNING if refused else logging.INFO
        LOG.log(level, "%s", words(line), extra={"told": told})


def words(line: Line) -> str:
    """What a line of the record says.

    Example:
        >>> words({"kind": "contribution", "verdict": "refused", "reason": "LATE"})
        'a reply is refused: LATE'
    """
    if line["kind"] == "contribution":
        reason = f": {line['reason']}" if line.get("reason") else ""
        return f"a reply is {line['verdict']}{reason}"
    said = SAID.get(line["kind"], str(line["kind"]))
    reason = f": {line['reason']}" if line.get("reason") else ""
    return f"{said}{reason}"


def _plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(
            _plain(one) and not isinstance(one, Mapping) for one in value.values()
        )
    return value is None or isinstance(value, str | int | float)

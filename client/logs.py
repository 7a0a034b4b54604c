"""Logs of our own processes: lines for people, or JSON with run, round and client.

``FEDELTA_LOG=json`` (or ``--log json``, which sets it for a command and all that it
starts) asks for JSON: one object a line, always with the keys ``at``, ``level``,
``logger``, ``message``, ``run``, ``round`` and ``client``, the last three null where
a line is about none. Texts of data owners never are in a log.
"""

import datetime as dt
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, TextIO

from ..protocols.errors import ConfigError

VARIABLE = "FEDELTA_LOG"
FORMS = ("text", "json")
OURS = "fedelta"
ABOUT = ("run", "round", "client")

NOTHING: Mapping[str, Any] = MappingProxyType({})

_about: ContextVar[Mapping[str, Any]] = ContextVar("about", default=NOTHING)


def choose(form: str) -> None:
    """Ask for a form, for this process and all that it starts; "": as it was.

    Raises:
        ConfigError: there is no such form.
    """
    if form:
        os.environ[VARIABLE] = form
    chosen()


def taken(words: Sequence[str]) -> tuple[list[str], str]:
    """Words of a command line without ``--log FORM``, wherever it stands; the form.

    Example:
        >>> taken(["host", "up", "--log", "json", "DIR"])
        (['host', 'up', 'DIR'], 'json')
        >>> taken(["host", "--log=json"]), taken(["--log"])
        ((['host'], 'json'), (['--log'], ''))
    """
    rest, form, given = [], "", iter(words)
    for word in given:
        name, _, value = word.partition("=")
        value = value or (next(given, "") if word == "--log" else "")
        if name == "--log" and value:
            form = value
        else:
            rest.append(word)
    return rest, form


def chosen() -> str:
    """The form that was asked for.

    Raises:
        ConfigError: there is no such form.
    """
    form = os.environ.get(VARIABLE) or FORMS[0]
    if form not in FORMS:
        raise ConfigError(f'--log or {VARIABLE} must be "text" or "json", not {form!r}')
    return form


def begin(stream: TextIO | None = None, *, also: tuple[str, ...] = ()) -> None:
    """Write what our loggers say, from now on, in the form that was asked for.

    Args:
        stream: where to; standard error without it.
        also: other loggers whose lines are made JSON as well, such as "flwr".
    """
    form = chosen()
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Structured() if form == "json" else Plain())
    logger = logging.getLogger(OURS)
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    for name in also if form == "json" else ():
        logging.getLogger(name).handlers = [handler]


@contextmanager
def about(**what: Any) -> Iterator[None]:
    """Say in every line of this block which run, round or client it is about."""
    token = _about.set({**_about.get(), **what})
    try:
        yield
    finally:
        _about.reset(token)


class Structured(logging.Formatter):
    """One JSON object a line.

    Example:
        >>> record = logging.makeLogRecord({"msg": "sealed", "name": "fedelta.run"})
        >>> with about(run="00ff", round=2):
        ...     text = Structured().format(record)
        >>> [json.loads(text)[key] for key in ("message", "run", "round", "client")]
        ['sealed', '00ff', 2, None]
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; ``extra={"told": {...}}`` adds keys."""
        line: dict[str, Any] = {
            "at": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= dict.fromkeys(ABOUT) | dict(_about.get())
        line |= getattr(record, "told", {})
        if record.exc_info and record.exc_info[0]:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class Plain(logging.Formatter):
    """Lines for people, with the time, and what they are about."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line (and an error's trace below it)."""
        known = {**_about.get(), **getattr(record, "told", {})}
        where = [f"{name} {known[name]}" for name in ABOUT[1:] if name in known]
        head = f"{_time(record.created)} {', '.join([*where, record.getMessage()])}"
        if record.exc_info and record.exc_info[0]:
            return f"{head}\n{self.formatException(record.exc_info)}"
        return head


def line(name: str, text: str) -> str:
    """One line as `begin`'s handler would write it, for who writes it himself."""
    record = logging.makeLogRecord(
        {"name": f"{OURS}.{name}", "msg": text, "levelname": "INFO"}
    )
    form = Structured() if chosen() == "json" else Plain()
    return form.format(record)


def _time(seconds: float) -> str:
    at = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""`fedelta report DIR --serve`: the report of a run that goes on, in the own browser.

The page is the report that a finished run gets, with a card on the round that goes on.
A script of ours asks for it again and again and puts what changed in its place; where
scripts are off, the browser loads it again by itself. Nothing is written anywhere.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from ..protocols.errors import ConfigError, FedeltaError
from . import interims, report
from .cards import Card, cards
from .interims import FINISHED, RUNNING, Interim
from .serving import LOOPBACK, serving, told

EVERY = 1.0
"""Seconds between two looks at the folder."""
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


class Broadcast:
    """Answers a browser's questions about one run.

    Args:
        folder: the run's.
        clock: seconds that only go on.
    """

    def __init__(
        self, folder: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._looked = -EVERY
        self._tag, self._page = "", b""

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """The page at /, its script, and nothing else."""
        path = environ["PATH_INFO"]
        if path == "/live.js":
            kind = ("Content-Type", "text/javascript; charset=utf-8")
            start_response("200 OK", [kind])
            return [_script()]
        if path != "/":
            return told(start_response, "404 Not Found", "there is only /\n")
        try:
            tag, page = self.now()
        except FedeltaError as error:
            return told(start_response, "503 Service Unavailable", f"{error}\n")
        if environ.get("HTTP_IF_NONE_MATCH") == tag:
            start_response("304 Not Modified", [("ETag", tag)])
            return []
        headers = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Security-Policy", POLICY),
            ("ETag", tag),
        ]
        start_response("200 OK", headers)
        return [page]

    def now(self) -> tuple[str, bytes]:
        """The page and its tag; drawn again only where the folder has changed.

        Raises:
            CheckpointError: the folder holds no run (any more).
        """
        with self._lock:
            if self._clock() - self._looked >= EVERY:
                tag = interims.stamp(self._folder)
                if tag != self._tag:
                    self._page = page(Interim.read(self._folder)).encode()
                    self._tag = tag
                self._looked = self._clock()
            return self._tag, self._page


def page(interim: Interim) -> str:
    """A run's report as it is now, as HTML text."""
    history = interim.history
    judged = bool(history.summary["metrics"]["final"])
    shown = cards(history) if judged else [_waiting()]
    if interim.state != FINISHED:
        shown.insert(0, _now(interim))
    return report.rendered(
        kicker=f"federated run, {interim.state}",
        name=history.config.get("run", {}).get("name", history.folder.name),
        lead=report.lead(history) if judged else "No evaluation is there yet.",
        tiles=[*_tiles(interim), *(report.tiles(history) if judged else ())],
        cards=shown,
        settings=list(report.settings(history.config)),
        environment=list(
            report.settings({"": history.summary.get("environment") or {}})
        ),
        digest=history.summary.get("model_digest", ""),
        source=f"{history.folder.name}/record.jsonl, read while it is written",
        live=interim.state != FINISHED,
    )


def _tiles(interim: Interim) -> Iterator[tuple[str, str, str]]:
    if interim.state == FINISHED:
        return
    replies = interim.replies()
    came = sum(one[1] != "awaited" for one in replies)
    here = "goes on" if interim.state == RUNNING else "nobody works on it"
    yield "round", f"{interim.round} of {interim.planned}", here
    yield "replies", f"{came} of {len(replies)}", f"in round {interim.round}"


def _now(interim: Interim) -> Card:
    note = (
        "What has come so far, as the server judged it."
        if interim.state == RUNNING
        else "No process works on this run: `fedelta resume`, or the same `fedelta "
        "host run`, goes on with it."
    )
    return Card(
        f"What happens now? Round {interim.round} of {interim.planned}",
        note,
        head=("client", "reply", "bytes", "seconds"),
        rows=tuple(interim.replies()),
        wide=True,
        opened=True,
    )


def _waiting() -> Card:
    return Card("Nothing to compare yet", "The base model is being judged.")


def _script() -> bytes:
    return (resources(__package__ or "") / "templates" / "live.js").read_bytes()


@contextmanager
def broadcast(folder: Path, port: int) -> Iterator[str]:
    """Serve a run's report on loopback until the block ends.

    Yields:
        Where to look.

    Raises:
        ConfigError: jinja2 or matplotlib is missing, or the port is taken.
        CheckpointError: the folder holds no run.
    """
    if lacking := report.missing():
        raise ConfigError(lacking)
    shown = Broadcast(folder)
    shown.now()
    with serving(shown, LOOPBACK, port) as taken:
        yield f"http://{LOOPBACK}:{taken}/"

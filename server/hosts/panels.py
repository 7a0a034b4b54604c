"""`fedelta host status`: the federation as a picture for a terminal, once or live."""

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ...protocols.errors import FedeltaError
from ..records import Line
from ..tables import size
from ..tallies import Tally
from ..views import bars, rounds

if TYPE_CHECKING:
    from ...client.joins.statuses import Status

EVERY = 1.0
"""Seconds between two looks."""
COLOURS = {"online": "green", "offline": "red", "revoked": "dim", "running": "green"}


class Panel:
    """What the status service says, looked at again and again.

    Args:
        asked: the service.
        run: which run; the newest without it.
    """

    def __init__(self, asked: "Status", run: str = "") -> None:
        self._asked = asked
        self._wanted = run
        self._shown = ""
        self._forget()

    def _forget(self) -> None:
        self._tally, self._place = Tally(), 0
        self._last: dict[str, Line] = {}

    def picture(self) -> Group:
        """Look, and draw.

        Raises:
            FedeltaError: the service does not answer.
        """
        seen = self._asked.overview()
        run = self._run(seen)
        parts: list[Any] = [_head(seen), _processes(seen)]
        if run is not None:
            self._follow(run)
            parts += ["", _title(run), bars(self._tally)]
        parts += ["", self._members(seen)]
        if self._tally.rows:
            parts += ["", rounds(self._tally)]
        return Group(*parts)

    def _run(self, seen: Any) -> Any:
        for run in seen.runs:
            if self._wanted in ("", run.name):
                return run
        return None

    def _follow(self, run: Any) -> None:
        """Take in what its record says since the last time."""
        identity = f"{run.name} {run.run}"
        if identity != self._shown:
            self._shown = identity
            self._forget()
        for event in self._asked.watch(run.name, place=self._place, follow=False):
            self._place = event.place
            line = json.loads(event.json)
            self._tally.add(line)
            if line["kind"] in ("contribution", "enrolment"):
                self._last[line["client"]] = line

    def _members(self, seen: Any) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for title in (
            "institution",
            "state",
            "round",
            "last reply",
            "bytes",
            "seconds",
        ):
            table.add_column(title, no_wrap=title == "institution")
        for one in seen.members:
            state = Text(one.state, style=COLOURS.get(one.state, ""))
            table.add_row(one.name, state, *_reply(self._last.get(one.name, {})))
        if not seen.members:
            table.add_row("nobody yet", "fedelta host admit", "", "", "", "")
        return table


def _head(seen: Any) -> Text:
    head = Text(seen.federation, style="bold")
    return head.append(f"  fedelta {seen.version}, {len(seen.members)} members", "dim")


def _processes(seen: Any) -> Text:
    text = Text()
    for one in seen.processes:
        text.append("● ", "green" if one.pid else "red")
        again = f" (restarts: {one.restarts})" if one.restarts else ""
        text.append(f"{one.name}{'' if one.pid else ' DOWN'}{again}   ")
    return text


def _title(run: Any) -> Text:
    text = Text(f"run {run.name}: ")
    text.append(run.state, COLOURS.get(run.state, "yellow"))
    where = f", round {run.round} of {run.rounds} is done" if run.rounds else ""
    return text.append(f"{where}, model {run.model_digest[:12] or 'not released yet'}")


def _reply(line: Line) -> tuple[str, Text, str, str]:
    if not line:
        return "", Text("none yet", "dim"), "", ""
    said = Text(str(line["verdict"]), "green")
    if line["verdict"] != "accepted":
        why = [str(line[key]) for key in ("reason", "detail") if line.get(key)]
        said = Text(": ".join(why), "red")
    seconds = line.get("seconds")
    took = "" if seconds is None else f"{seconds:.1f}"
    return str(line.get("round", "")), said, size(line.get("bytes") or 0), took


def watch(
    panel: Panel,
    console: Console,
    stop: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Keep the picture up to date until told to stop, also while the host is away."""
    with Live(panel.picture(), console=console, auto_refresh=False) as live:
        while not stop():
            sleep(EVERY)
            try:
                live.update(panel.picture(), refresh=True)
            except FedeltaError as error:
                live.update(Text(f"{error}; looking again", "red"), refresh=True)

"""What a person sees while a run goes on: a live view, or lines."""

import sys
from contextlib import AbstractContextManager
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..client import logs
from .chronicles import Chronicle
from .tables import duration, is_share, leaked, size, told
from .tallies import Line, Tally, told_round

SHOWN = 12


class Lines(AbstractContextManager["Lines"]):
    """A listener that prints a line a round, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.tally = Tally()
        self.console = console

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def __call__(self, line: Line) -> None:
        """Print what is worth a line."""
        before = len(self.tally.rows)
        self.tally.add(line)
        if line["kind"] == "run":
            self._say(f"{self.tally.name}: {self.tally.recipe}")
        elif line["kind"] == "contribution" and line["verdict"] != "accepted":
            self._say(f"refused {line['client']}: {line.get('reason')}")
        elif line["kind"] == "evaluation":
            metric = self.tally.metric
            value = told(metric, line["metrics"].get(metric))
            whose = " on the clients' data" if line.get("where") == "clients" else ""
            self._say(f"round {line['round']}: {metric} {value}{whose}")
        elif line["kind"] == "masks" and not self.tally.rows:
            for text in leaked(line):
                self._say(text)
        elif len(self.tally.rows) > before:
            self._say(told_round(self.tally, self.tally.rows[-1]))

    def _say(self, text: str) -> None:
        self.console.print(
            f"[{self.tally.at:7.1f} s] {text}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


class Screen(AbstractContextManager["Screen"]):
    """A listener that keeps a live picture of the run on a terminal."""

    def __init__(self, console: Console) -> None:
        self.tally = Tally()
        self.live = Live(self._picture(), console=console, refresh_per_second=8)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last picture where it is."""
        self.live.stop()

    def __call__(self, line: Line) -> None:
        """Take a line in and draw."""
        self.tally.add(line)
        if line["kind"] == "masks" and not self.tally.rows:
            for text in leaked(line):
                self.live.console.print(text, highlight=False, markup=False)
        self.live.update(self._picture())

    def _picture(self) -> Group:
        tally = self.tally
        head = Text(f"{tally.name or 'fedelta'}  ", style="bold")
        head.append(f"{tally.recipe}  ", style="cyan")
        head.append(tally.phase, style="dim")
        return Group(head, bars(tally), rounds(tally))


def bars(tally: Tally) -> Table:
    """How far the run is, what travelled, and how long it may take."""
    bars = Table.grid(padding=(0, 2))
    over = 0 < tally.rounds <= tally.round
    rows = [("rounds", tally.round, tally.rounds)]
    if not over:
        rows.append(("clients", len(tally.replies), tally.clients))
    elif tally.alone:
        rows.append(("alone", tally.alone, tally.clients))
    for label, done, total in rows:
        bar = ProgressBar(total=max(total, 1), completed=done, width=30)
        bars.add_row(label, bar, f"{done}/{total}")
    bars.add_row(
        "bytes", f"{size(tally.up)} up, {size(tally.down)} down", duration(tally.at)
    )
    if left := tally.left:
        bars.add_row("time", f"about {duration(left)} of rounds left", "")
    return bars


def rounds(tally: Tally) -> Table:
    """The finished rounds, a row each."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    titles = ("round", "replies", "refused", "loss", tally.metric, "gain")
    for title in titles:
        table.add_column(title, justify="right")
    if tally.base is not None:
        table.add_row("0", "", "", "", told(tally.metric, tally.base), "")
    for row in tally.rows[-SHOWN:]:
        loss = "-" if row["loss"] is None else f"{row['loss']:.3f}"
        table.add_row(
            str(row["round"]),
            str(row["accepted"]),
            str(row["refused"]),
            loss,
            told(tally.metric, row["value"]),
            _rise(tally, row["value"]),
        )
    return table


def _rise(tally: Tally, value: float | None) -> str:
    if value is None or tally.base is None:
        return "-"
    rise = value - tally.base
    return f"{100 * rise:+.1f}" if is_share(tally.metric) else f"{rise:+.3f}"


class Silence(AbstractContextManager["Silence"]):
    """A listener that shows nothing."""

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def __call__(self, line: Line) -> None:
        """Let a line pass."""


def view(
    *, quiet: bool = False, errors: bool = False
) -> Lines | Screen | Silence | Chronicle:
    """The view that suits where the output goes: a log, where JSON was asked for.

    Args:
        quiet: show nothing.
        errors: write to standard error, where standard output is for JSON.
    """
    if quiet:
        return Silence()
    if logs.chosen() == "json":
        logs.begin()
        return Chronicle()
    console = Console(file=sys.stderr if errors else sys.stdout)
    return Screen(console) if console.is_terminal else Lines(console)

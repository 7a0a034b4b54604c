"""How far something is that takes a while: a bar on a terminal, else lines."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from ..tables import duration, leading, told

Tell = Callable[[int, int], None]
"""Takes how much is done, and of how much."""
APART = 10.0
"""Seconds between lines."""
SOON = 2.0
"""After so many the first guess is made."""


class Replays:
    """A listener that says on standard error what each merge came to, as it is judged.

    Attributes:
        total: how many merges are asked for.
        merge: the recipe that is replayed, and the space.
    """

    def __init__(self, total: int) -> None:
        """Begin before the first."""
        self.total, self.merge = total, ""
        self._begun = 0
        self._console = Console(stderr=True)

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Take one line of a replay's record in."""
        if line["kind"] == "run":
            self._begun += 1
            self.merge = f"{line['recipe']} @ {line['space']}"
        elif line["kind"] == "evaluation" and line["round"]:
            metric = leading({"metrics": {"final": line["metrics"]}})
            value = told(metric, line["metrics"].get(metric))
            place = f"{self._begun}/{self.total}"
            text = f"{place}  round {line['round']}, {self.merge}: {metric} {value}"
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def unheard(done: int, total: int) -> None:
    """Tell nobody."""


@contextmanager
def watched(what: str, *, quiet: bool = False) -> Iterator[Tell]:
    """Show on standard error how much of something is done, and how long it may take.

    Args:
        what: is counted, such as "texts judged".
        quiet: show nothing.

    Yields:
        Takes how much is done, and of how much.
    """
    console = Console(stderr=True)
    if quiet:
        yield unheard
    elif console.is_terminal:
        with _bar(console, what) as tell:
            yield tell
    else:
        yield _lines(console, what)


@contextmanager
def _bar(console: Console, what: str) -> Iterator[Tell]:
    from rich import progress

    columns = (
        progress.TextColumn(what),
        progress.BarColumn(30),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(compact=True),
    )
    with progress.Progress(*columns, console=console, transient=True) as shown:
        place = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(place, completed=done, total=total)


def _lines(console: Console, what: str) -> Tell:
    said, first = -APART, (0.0, -1)

    def tell(done: int, total: int) -> None:
        nonlocal said, first
        now = time.monotonic()
        if first[1] < 0:
            console.print(f"{total:,} {what} in all", highlight=False, markup=False)
            first, said = (now, done), now + SOON - APART
        if now - said < APART or not first[1] < done < total:
            return
        said = now
        left = duration((now - first[0]) * (total - done) / (done - first[1]))
        text = f"{done:,} of {total:,} {what}, about {left} left"
        console.print(text, highlight=False, markup=False)

    return tell

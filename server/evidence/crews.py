"""Trials judged side by side: processes that each have a model of their own.

``python -m fedelta.server.evidence.crews`` reads a search as a line of JSON, then
settings, a line each, and answers every one of these with its trial. All that is
trained is trained before.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from queue import Queue
from typing import IO

from ...protocols.errors import ConfigError, ContributionError, RoundError
from ..environments import quiet_environment
from ..runs import config_from_json, config_json
from .searches import Search, Trial
from .variables import Value

Settings = Mapping[str, Value]
FEWEST = 4
"""Trials below which a process more takes longer to start than it saves."""


def fill(search: Search, wanted: Sequence[Settings]) -> None:
    """Make a search's trials, those that it has left out; kept in their order.

    Args:
        search: its workers say how many processes judge.
        wanted: all settings, from the first on.
    """
    new = [dict(one) for one in wanted[len(search.done) :]]
    if len(new) < FEWEST or search.workers < 2:  # noqa: PLR2004
        return
    usable = [_trained(search, one) for one in new]
    jobs = Queue[Future[Trial]]()
    with ThreadPoolExecutor(min(search.workers, len(new))) as pool:
        crew = [_Member(search) for _ in range(min(search.workers, len(new)))]
        free = Queue[_Member]()
        for member in crew:
            free.put(member)

        def judge(given: Settings) -> Trial:
            member = free.get()
            try:
                return member.judge(given)
            finally:
                free.put(member)

        try:
            for given, ready in zip(new, usable, strict=True):
                jobs.put(pool.submit(judge if ready else search.tried, given))
            for _ in new:
                search.keep(jobs.get().result())
        finally:
            for member in crew:
                member.close()


def _trained(search: Search, given: Settings) -> bool:
    """Whether what settings need is trained: else they say why as they are tried."""
    try:
        search.train(search.parts(given)[1])
    except (ConfigError, ContributionError, RoundError):
        return False
    return True


class _Member:
    """A process that judges."""

    def __init__(self, search: Search) -> None:
        words = [sys.executable, "-m", "fedelta.server.evidence.crews"]
        self._process = subprocess.Popen(  # noqa: S603  our own module
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | quiet_environment(),
        )
        head = {"config": config_json(search.config), "metric": search.metric}
        self._say(head | {"out": str(search.out)})

    def judge(self, given: Settings) -> Trial:
        """Have settings judged.

        Raises:
            RoundError: the process ended.
        """
        self._say(given)
        line = self._pipe(self._process.stdout).readline()
        if not line:
            raise RoundError("a process that judges trials ended: run the search again")
        return Trial(**json.loads(line))

    def close(self) -> None:
        """End the process."""
        self._pipe(self._process.stdin).close()
        self._process.wait()
        self._pipe(self._process.stdout).close()

    def _say(self, what: Mapping[str, object]) -> None:
        pipe = self._pipe(self._process.stdin)
        pipe.write(json.dumps(what) + "\n")
        pipe.flush()

    @staticmethod
    def _pipe(given: IO[str] | None) -> IO[str]:
        if given is None:
            raise RoundError("a process has no pipe")
        return given


def main() -> None:
    """Judge what is asked for, until nothing more is."""
    out, sys.stdout = sys.stdout, sys.stderr  # what others print is no answer
    head = json.loads(sys.stdin.readline())
    config = config_from_json(head["config"])
    search = Search(config, Path(head["out"]), head["metric"])
    try:
        for line in sys.stdin:
            out.write(json.dumps(asdict(search.tried(json.loads(line)))) + "\n")
            out.flush()
    finally:
        search.close()


if __name__ == "__main__":
    main()

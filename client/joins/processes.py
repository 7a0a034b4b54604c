"""Long-lived processes: started, watched, started again when they die, ended together.

Each service is a process group of its own, so that nothing of it outlives it; its
output goes to one file in the log folder. If the supervisor itself is killed, the
kernel ends its services (Linux).
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a service is started again: doubled each time, up to the longest."""
STEADY = 60.0
"""A service that ran for so long starts again after the short pause."""
GRACE = 10.0
"""Seconds that a service has to end by itself."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Service:
    """One process to keep alive.

    Attributes:
        name: names its log file.
        command: program and arguments.
        environment: beside (and over) that of this process.
        ready: returns whether it serves; asked until it does, before the next starts.
        folder: its working folder; None: this process's.
        wait: seconds for it to become ready.
        helper: a word of the command of a process that it starts, cannot do without and
            does not look after; if that dies, the service is started again.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] | None = None
    folder: Path | None = None
    wait: float = 60.0
    helper: str = ""


@dataclass(slots=True)
class Running:
    """A service's process as it is now.

    Attributes:
        service: what it is.
        process: None while it waits to be started again.
        restarts: how often it was started again.
        since: when it was last started, in monotonic seconds.
        due: when it is started again.
        helped: its helper has been seen since it was started.
    """

    service: Service
    process: "subprocess.Popen[bytes] | None" = None
    restarts: int = 0
    since: float = 0.0
    due: float = 0.0
    helped: bool = False


class Supervisor:
    """Services in the order in which they need each other.

    Args:
        services: started in this order, ended in the reverse one.
        logs: folder for their output.
        tell: called with a line for people when something happens.
        changed: called with the services after anything changed.
    """

    def __init__(
        self,
        services: Sequence[Service],
        logs: Path,
        tell: Callable[[str], None],
        changed: Callable[[Sequence[Running]], None] = lambda _: None,
    ) -> None:
        self.running = [Running(service) for service in services]
        self._logs = logs
        self._tell = tell
        self._changed = changed
        self._ending = False

    def start(self) -> None:
        """Start all; each is ready before the next.

        Raises:
            TimeoutError: one of them does not get ready; its log says why.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        for one in self.running:
            self._launch(one)
            self._await(one)
            self._tell(f"{one.service.name} is up")

    def watch(self, stop: Callable[[], bool], tick: float = 0.2) -> None:
        """Keep them alive until told to stop."""
        while not (self._ending or stop()):
            for one in self.running:
                self._look(one)
            time.sleep(tick)

    def end(self) -> None:
        """End all of them, last first, and whatever they started."""
        self._ending = True
        for one in reversed(self.running):
            if one.process is not None:
                end_group(one.process)
                one.process = None
        self._changed(self.running)

    def _launch(self, one: Running) -> None:
        service = one.service
        with (self._logs / f"{service.name}.log").open("ab") as log:
            one.process = subprocess.Popen(  # noqa: S603  our own command
                list(service.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=service.folder,
                env={**os.environ, **service.environment},
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        one.since, one.helped = time.monotonic(), False
        self._changed(self.running)

    def _await(self, one: Running) -> None:
        service, ready = one.service, one.service.ready
        if ready is None:
            return
        limit = time.monotonic() + service.wait
        while not ready():
            died = one.process is not None and one.process.poll() is not None
            if died or time.monotonic() > limit:
                what = (
                    "ended at once" if died else f"is not ready in {service.wait:g} s"
                )
                log = self._logs / f"{service.name}.log"
                raise TimeoutError(
                    f"{service.name} {what}: {last_line(log)} (see {log})"
                )
            time.sleep(0.1)

    def _look(self, one: Running) -> None:
        self._help(one)
        if one.process is not None and (code := one.process.poll()) is not None:
            end_group(one.process)  # what it left behind
            lived = time.monotonic() - one.since
            one.restarts = 1 if lived > STEADY else one.restarts + 1
            pause = min(PAUSE * 2 ** (one.restarts - 1), LONGEST_PAUSE)
            one.process, one.due = None, time.monotonic() + pause
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            self._tell(f"{one.service.name} died ({how}); starts again in {pause:g} s")
            self._changed(self.running)
        if one.process is None and time.monotonic() >= one.due:
            self._launch(one)
            self._tell(f"{one.service.name} was started again")

    def _help(self, one: Running) -> None:
        """End a service whose helper has died: it would wait for it for ever."""
        helper, process = one.service.helper, one.process
        if not helper or process is None or process.poll() is not None:
            return
        there = any(helper in words for words in children(process.pid))
        if one.helped and not there:
            self._tell(f"{one.service.name} has lost its {helper}")
            end_group(process)
        one.helped = there


def children(pid: int) -> list[str]:
    """The command lines of a process's children, as far as they live (Linux)."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text().split():
                words = Path(f"/proc/{child}/cmdline").read_bytes()
                found.append(words.replace(b"\0", b" ").decode("utf-8", "replace"))
    return found


def end_group(process: "subprocess.Popen[bytes]", grace: float = GRACE) -> None:
    """End a process and its group: asked first, then made to."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_line(log: Path) -> str:
    """The last line that says something, for an error message.

    Example:
        >>> last_line(Path("/nowhere/at/all"))
        'it wrote nothing'
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return "it wrote nothing"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it wrote nothing"


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

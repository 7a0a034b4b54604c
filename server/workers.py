"""Worker processes that run client apps, and the queue that they share.

Every worker is a child process with a pipe each way and a thread here that serves
it. Any idle worker takes the next job. A worker that dies or overruns its job's
deadline is replaced before its next job; its job ends with an error.
"""

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from ..client.worker import read_frame, write_frame
from .environments import quiet_environment

COMMAND = (sys.executable, "-m", "fedelta.client.worker")
_END_SECONDS = 5.0


class WorkerLostError(Exception):
    """A worker died, or was ended, in the middle of a job."""


@dataclass(frozen=True, slots=True)
class Work:
    """One job for any worker.

    Attributes:
        head: the job's context, the first frame.
        data: the message, the second frame.
        deadline: `time.monotonic` after which it is given up; infinity: never.
        done: called once, from another thread, with the reply's bytes or with what
            went wrong, and the seconds that it took.
    """

    head: bytes
    data: bytes
    deadline: float
    done: Callable[[bytes | WorkerLostError, float], None]


class Worker:
    """One child process, started when it first has something to do.

    Args:
        command: what to run; it reads and writes frames.
        log: file that takes what it prints; None: nowhere.
        environment: variables set on top of this process's own.
    """

    def __init__(
        self, command: Sequence[str], log: Path | None, environment: Mapping[str, str]
    ) -> None:
        self._command = list(command)
        self._log = log
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """The running process, a new one where the last has ended."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.end()
        log: IO[bytes] | int = subprocess.DEVNULL
        if self._log is not None:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            log = self._log.open("ab")
        self._process = subprocess.Popen(  # noqa: S603  our own command
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | self._environment,
            start_new_session=True,
        )
        if not isinstance(log, int):
            log.close()
        return self._process

    def ask(self, work: Work) -> bytes:
        """Send a job and wait for its reply.

        Raises:
            WorkerLostError: the process died or the deadline passed.
        """
        left = work.deadline - time.monotonic()
        if left <= 0:
            raise WorkerLostError("the deadline passed before a worker was free")
        process = self.start()
        watch = threading.Timer(min(left, threading.TIMEOUT_MAX), process.kill)
        watch.daemon = True
        watch.start()
        try:
            return _talk(process, work)
        except (OSError, EOFError) as error:
            late = time.monotonic() >= work.deadline
            why = "the deadline passed" if late else f"its worker ended ({error})"
            self.end()
            raise WorkerLostError(why) from error
        finally:
            watch.cancel()

    def end(self) -> None:
        """End the process: by closing its input, by force if that does not do."""
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                _shut(stream)
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End the process at once, from another thread than the one that waits."""
        process = self._process
        if process is not None:
            process.kill()


class Pool:
    """Several workers that take jobs from one queue.

    Args:
        count: how many.
        command: what each runs.
        logs: folder for what they print.
    """

    def __init__(
        self, count: int, command: Sequence[str] = COMMAND, logs: Path | None = None
    ) -> None:
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._workers = [
            Worker(command, logs and logs / f"worker-{n}.log", quiet_environment())
            for n in range(count)
        ]
        self._threads = [
            threading.Thread(target=self._serve, args=(worker,), daemon=True)
            for worker in self._workers
        ]
        for thread in self._threads:
            thread.start()

    def put(self, work: Work) -> None:
        """Queue a job."""
        self._queue.put(work)

    def close(self) -> None:
        """Drop what is queued and end all workers, in mid-job too."""
        while not self._queue.empty():
            self._queue.get_nowait()
        for _ in self._threads:
            self._queue.put(None)
        for worker in self._workers:
            worker.kill()
        for thread in self._threads:
            thread.join()

    def _serve(self, worker: Worker) -> None:
        while (work := self._queue.get()) is not None:
            began = time.monotonic()
            said: bytes | WorkerLostError
            try:
                said = worker.ask(work)
            except WorkerLostError as error:
                said = error
            except OSError as error:  # the process could not even be started
                said = WorkerLostError(f"no worker could be started ({error.strerror})")
            work.done(said, time.monotonic() - began)
        worker.end()


def _talk(process: subprocess.Popen[bytes], work: Work) -> bytes:
    if process.stdin is None or process.stdout is None:
        raise EOFError("no pipes")
    pipe = cast("BinaryIO", process.stdin)
    write_frame(pipe, work.head)
    write_frame(pipe, work.data)
    reply = read_frame(cast("BinaryIO", process.stdout))
    if reply is None:
        raise EOFError(f"exit code {process.wait()}")
    return reply


def _shut(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except OSError:
        return  # the other end is gone: there is nothing left to flush to

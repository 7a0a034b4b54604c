"""Replies pulled from Flower's grid, one message id at a time, several at once."""

import logging
import queue
import threading
import time
from collections.abc import Iterable

from flwr.app import Message
from flwr.serverapp import Grid

LOG = logging.getLogger("fedelta.host")
PULLERS = 16
"""Replies that are pulled at a time."""
ROOM, AHEAD = 4, 2
"""Replies that are coming, and that are there and not looked at yet: whoever would pull
more waits meanwhile, so that memory does not follow the number of clients."""
STALLS = 2.0
"""Seconds after which a reply that is coming keeps nobody waiting."""


class Pulling:
    """Pulls replies, several at a time, so that one stalled upload holds up no other.

    Args:
        grid: Flower's.
        pause: seconds between looks for a reply.
    """

    def __init__(self, grid: Grid, pause: float) -> None:
        self._grid = grid
        self._pause = pause
        self._begun: dict[str, float] = {}
        self._waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._found: queue.Queue[tuple[str, Message]] = queue.Queue(AHEAD)
        self._room = threading.Semaphore(ROOM)
        self._stopped = threading.Event()
        self._threads = 0

    def add(self, names: Iterable[str]) -> None:
        """Want the replies to these message ids too."""
        wanted = list(names)
        for name in wanted:
            self._waiting.put(name)
        for _ in range(min(PULLERS, self._threads + len(wanted)) - self._threads):
            threading.Thread(target=self._pull, daemon=True).start()
            self._threads += 1

    def stalled(self, seconds: float) -> set[str]:
        """Ids of messages whose replies have been coming for so many seconds."""
        before = time.monotonic() - seconds
        return {name for name, at in list(self._begun.items()) if at <= before}

    def next(self, seconds: float) -> tuple[str, Message] | None:
        """The next reply with the message that it answers; None: the time is up."""
        wait = None if seconds == float("inf") else max(seconds, 0.0)
        try:
            return self._found.get(timeout=wait)
        except queue.Empty:
            return None

    def stop(self) -> None:
        """Pull no more; what is being pulled is thrown away."""
        self._stopped.set()

    def _pull(self) -> None:
        while not self._stopped.is_set():
            try:
                name = self._waiting.get(timeout=self._pause)
            except queue.Empty:
                continue
            entered = self._enter()
            try:
                taken = self._take(name)
            finally:
                if entered:
                    self._room.release()
            if not taken:
                self._stopped.wait(self._pause)
                self._waiting.put(name)

    def _enter(self) -> bool:
        """Wait for room, which those that stall take from nobody; was some taken?"""
        while not self._room.acquire(timeout=self._pause):
            if self._stopped.is_set() or self.stalled(STALLS):
                return False
        return True

    def _take(self, name: str) -> bool:
        self._begun[name] = time.monotonic()
        try:
            replies = list(self._grid.pull_messages([name]))
        except Exception:
            LOG.warning("could not ask for a reply; asking again", exc_info=True)
            return False
        finally:
            del self._begun[name]
        for reply in replies:
            if reply.metadata.reply_to_message_id == name:
                self._hand(name, reply)
                return True
        return False

    def _hand(self, name: str, reply: Message) -> None:
        while not self._stopped.is_set():
            try:
                self._found.put((name, reply), timeout=self._pause)
            except queue.Full:
                continue
            return

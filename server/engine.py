"""The in-process engine: Flower's `Grid` over worker processes on this machine.

Messages are serialised as they would be for a network and counted as such. Replies
are handed on as they come. Who answers is known by the message that we hold, not by
what the reply says of itself.
"""

import queue
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from flwr.app import Error, Message
from flwr.serverapp import Grid

from ..client.worker import Job, handle
from ..protocols.messages import from_bytes, identify, to_bytes
from .grids import SERVER_NODE, LocalGrid
from .workers import COMMAND, Pool, Work, WorkerLostError

if TYPE_CHECKING:
    from flwr.clientapp import ClientApp

_FIRST_NODE = 2
ENGINE_ERROR = 1000


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one message and its reply cost.

    Attributes:
        down: bytes of the message as sent.
        up: bytes of the reply as received.
        seconds: from the worker's start on it to its reply.
        spoofed: the reply named another sender or message than the one asked.
    """

    down: int
    up: int = 0
    seconds: float = 0.0
    spoofed: bool = False


@dataclass(frozen=True, slots=True)
class _Asked:
    message: Message
    data: bytes


class InProcessGrid(LocalGrid):
    """A grid of simulated nodes, one a client, in the roster's order.

    Args:
        states: by client name, in order, the folder that the client keeps.
        run_config: what every client app reads as its run configuration.
        run_id: Flower's number for the run.
        workers: how many processes; 0 runs the clients in this one.
        logs: folder for what workers print.
        command: what a worker process runs, instead of ours.
        app: with no workers, the client app to run instead of ours.
    """

    def __init__(  # noqa: PLR0913  one argument a setting, all by name
        self,
        states: Mapping[str, Path],
        run_config: Mapping[str, str | int | float | bool],
        *,
        run_id: int = 1,
        workers: int = 2,
        logs: Path | None = None,
        command: Sequence[str] = COMMAND,
        app: "ClientApp | None" = None,
    ) -> None:
        nodes = {name: _FIRST_NODE + n for n, name in enumerate(states)}
        super().__init__(nodes, run_id)
        self.receipts: dict[str, Receipt] = {}
        self._contexts = {
            node: Job(
                run_id,
                node,
                {"client": name, "state": str(states[name])},
                dict(run_config),
            )
            for name, node in self.nodes.items()
        }
        self._app = app
        self._pool = Pool(workers, command, logs) if workers else None
        self._replies: queue.SimpleQueue[tuple[str, Message]] = queue.SimpleQueue()
        self._asked: dict[str, _Asked] = {}

    def __enter__(self) -> Self:
        """The grid itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers."""
        self.close()

    def close(self) -> None:
        """End the workers, whatever they are at."""
        if self._pool is not None:
            self._pool.close()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue messages; each gets an id."""
        return self._push(messages, float("inf"))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that are there by now."""
        wanted = set(message_ids)
        later: list[tuple[str, Message]] = []
        found: list[Message] = []
        if self._pool is None:
            self._answer_all(wanted)
        while not self._replies.empty():
            name, reply = self._replies.get_nowait()
            if name in wanted:
                found.append(reply)
            else:
                later.append((name, reply))
        for entry in later:
            self._replies.put(entry)
        return found

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send at once, and hand on each reply as it comes.

        Args:
            messages: to whom they say.
            timeout: seconds after which what has not answered is given up.

        Returns:
            A generator of replies; an error reply where a client or its worker failed.
        """
        deadline = time.monotonic() + timeout if timeout else float("inf")
        waiting = self._push(messages, deadline)
        return self._stream(waiting, deadline)

    def _push(self, messages: Iterable[Message], deadline: float) -> list[str]:
        names = []
        for message in messages:
            name = self.numbered(message)
            asked = _Asked(message, to_bytes(message))
            self._asked[name] = asked
            self.receipts[name] = Receipt(len(asked.data))
            names.append(name)
            if self._pool is not None:
                self._pool.put(self._work(name, asked, deadline))
        return names

    def _work(self, name: str, asked: _Asked, deadline: float) -> Work:
        def done(said: bytes | WorkerLostError, seconds: float) -> None:
            if self._asked.pop(name, None) is not None:  # else: given up meanwhile
                self._replies.put((name, self._reply(name, asked, said, seconds)))

        context = self._contexts[asked.message.metadata.dst_node_id]
        return Work(context.to_json(), asked.data, deadline, done)

    def _stream(self, names: Sequence[str], deadline: float) -> Iterator[Message]:
        if self._pool is None:
            yield from self._inline(names, deadline)
            return
        waiting = set(names)
        while waiting:
            left = deadline - time.monotonic()
            try:
                wait = None if left == float("inf") else max(left, 0.0)
                name, reply = self._replies.get(timeout=wait)
            except queue.Empty:
                break
            if name in waiting:  # else: the answer to a round that is over
                waiting.remove(name)
                yield reply
        for name in waiting:
            self._asked.pop(name, None)

    def _inline(self, names: Sequence[str], deadline: float) -> Iterator[Message]:
        for name in names:
            if time.monotonic() >= deadline:
                self._asked.pop(name, None)
                continue
            reply = self._answer(name)
            if time.monotonic() < deadline:
                yield reply

    def _answer_all(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._asked:
                self._replies.put((name, self._answer(name)))

    def _answer(self, name: str) -> Message:
        asked = self._asked.pop(name)
        context = self._contexts[asked.message.metadata.dst_node_id]
        began = time.monotonic()
        try:
            data = handle(context, asked.data, self._app)
        finally:
            identify(self._run.run_id, SERVER_NODE)
        return self._reply(name, asked, data, time.monotonic() - began)

    def _reply(
        self, name: str, asked: _Asked, said: bytes | WorkerLostError, seconds: float
    ) -> Message:
        """The reply that belongs to a message, whatever it says of itself."""
        down = len(asked.data)
        if isinstance(said, WorkerLostError):
            self.receipts[name] = Receipt(down, 0, seconds)
            return Message(Error(ENGINE_ERROR, str(said)), reply_to=asked.message)
        try:
            reply = from_bytes(said)
        except Exception as error:  # noqa: BLE001  whatever a broken reply raises
            self.receipts[name] = Receipt(down, len(said), seconds)
            told = f"not a message: {type(error).__name__}"
            return Message(Error(ENGINE_ERROR, told), reply_to=asked.message)
        spoofed = bind(reply, asked.message)
        self.receipts[name] = Receipt(down, len(said), seconds, spoofed)
        return reply


def bind(reply: Message, message: Message) -> bool:
    """Write into a reply whom we asked and for what; whether it said otherwise."""
    right = {
        "_src_node_id": message.metadata.dst_node_id,
        "_dst_node_id": message.metadata.src_node_id,
        "_reply_to_message_id": message.metadata.message_id,
        "_run_id": message.metadata.run_id,
    }
    said = reply.metadata.__dict__
    spoofed = any(said[key] != value for key, value in right.items())
    said.update(right)
    return spoofed


def receipt(grid: Grid, message: Message) -> Receipt:
    """What a message or its reply cost; measured anew where the grid kept no count."""
    name = message.metadata.reply_to_message_id or message.metadata.message_id
    kept: Mapping[str, Receipt] = getattr(grid, "receipts", {})
    if name in kept:
        return kept[name]
    size = len(to_bytes(message))
    return Receipt(0, size) if message.metadata.reply_to_message_id else Receipt(size)

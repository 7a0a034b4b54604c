"""A worker process: messages in on stdin, replies out on stdout.

The in-process engine starts a few of these (``python -m fedelta.client.worker``),
each with one thread, and hands every message to one that is free. A worker keeps one
base model for all the clients that run in it. A job is two frames, what the Flower
context holds (JSON) and the message; its answer is one frame, the reply message. A
frame is its length (8 bytes, little-endian) and then so many bytes.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from flwr.clientapp import ClientApp

HEAD = 8
LIMIT = 1 << 36
"""No frame is longer (64 GiB): a larger length means that the stream is broken."""

PULSE = 0.2
"""Seconds between looks at whether the server is still there."""


@dataclass(frozen=True, slots=True)
class Job:
    """Where a message runs: what becomes the client app's Flower context.

    Attributes:
        run_id: Flower's run id.
        node_id: the node that the message is for.
        node_config: at least ``client`` (its roster name) and ``state`` (the folder
            that it keeps between rounds).
        run_config: at least ``config``, the `Config` as JSON text.

    Example:
        >>> job = Job(1, 2, {"client": "a", "state": "s"}, {"config": "{}"})
        >>> Job.from_json(job.to_json()) == job
        True
    """

    run_id: int
    node_id: int
    node_config: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    run_config: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """As the first frame holds it."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Job":
        """Read it back."""
        return cls(**json.loads(data))


def write_frame(stream: IO[bytes], data: bytes | memoryview) -> None:
    """Write one frame and flush."""
    stream.write(len(data).to_bytes(HEAD, "little"))
    stream.write(data)
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """Read one frame; None at the end of the stream.

    Raises:
        EOFError: the stream ended inside a frame, or no frame starts here.
    """
    head = stream.read(HEAD)
    if not head:
        return None
    size = int.from_bytes(head, "little")
    if len(head) < HEAD or size > LIMIT:
        raise EOFError("the stream is broken: no frame starts here")
    data = stream.read(size)
    if len(data) < size:
        raise EOFError(f"the stream ended {size - len(data)} bytes inside a frame")
    return data


def handle(job: Job, data: bytes, app: "ClientApp | None" = None) -> bytes:
    """Run one message through a Flower client app (ours, unless another is given).

    Returns:
        The reply message's bytes; an error message where the app raised.
    """
    from flwr.app import Context, RecordDict

    from ..protocols.messages import from_bytes, identify, to_bytes
    from .failures import error_reply

    run = app or _ours()
    identify(job.run_id, job.node_id)
    message = from_bytes(data)
    context = Context(
        run_id=job.run_id,
        node_id=job.node_id,
        node_config=dict(job.node_config),
        state=RecordDict(),
        run_config=dict(job.run_config),
    )
    try:
        reply = run(message, context)
    except Exception as error:  # noqa: BLE001  whatever it was, it ends this reply only
        reply = error_reply(message, error)
    return to_bytes(reply)


def _ours() -> "ClientApp":
    from .app import app

    return app


def serve(source: IO[bytes], sink: IO[bytes], app: "ClientApp | None" = None) -> None:
    """Answer jobs until the stream ends.

    Args:
        source: jobs, as pairs of frames.
        sink: one frame a job.
        app: a Flower client app to run instead of ours.
    """
    while (head := read_frame(source)) is not None:
        data = read_frame(source)
        if data is None:
            raise EOFError("a job without its message")
        write_frame(sink, handle(Job.from_json(head), data, app))


def main(app: "ClientApp | None" = None) -> None:
    """Serve on stdin and stdout; what libraries print goes to stderr instead.

    A worker does not outlive the server that started it, in mid-job neither: a server
    that is killed and resumed must be alone in its clients' folders.
    """
    watch = threading.Thread(target=_follow, args=(os.getppid(),), daemon=True)
    watch.start()
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, sink, app)


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PULSE)
    os._exit(1)


if __name__ == "__main__":
    main()

"""What an institution asks the coordinator's status service, by its own certificate."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self

import grpc

from ...protocols.errors import ConfigError, FedeltaError
from ...protocols.status import status_pb2 as messages
from ...protocols.status import wires
from . import keys
from .folders import JoinFolder

PATIENCE = 3600.0
"""Seconds that fetching a model may take."""
LARGEST = 1 << 40
"""No file of a model is larger (1 TiB)."""


class Status:
    """Questions to a status service.

    Args:
        channel: as `fedelta.protocols.status.wires.channel` makes it.
        where: its address, for error messages.
        remedy: what to do where it does not answer.
    """

    def __init__(self, channel: Any, where: str, remedy: str = "") -> None:
        self._channel = channel
        self._where = where
        self._remedy = remedy and f": {remedy}"

    def overview(self) -> Any:
        """The federation now, as far as it is shown to the caller."""
        return self._ask("Overview", messages.OverviewRequest())

    def verdicts(self, run: str = "") -> Any:
        """What became of the caller's contributions to a run."""
        return self._ask("Verdicts", messages.RunRequest(run=run))

    def releases(self, run: str = "") -> Any:
        """What a run has released."""
        return self._ask("Releases", messages.RunRequest(run=run))

    def settings(self, run: str = "") -> str:
        """A run's configuration, as JSON."""
        return str(self._ask("Settings", messages.RunRequest(run=run)).json)

    def watch(
        self, run: str = "", *, place: int = 0, follow: bool = True
    ) -> Iterator[Any]:
        """A run's record, from a line on; with `follow`, what comes as well."""
        request = messages.WatchRequest(run=run, place=place, follow=follow)
        with self._named():
            yield from wires.question(self._channel, "Watch")(request)

    def pull(self, folder: Path, run: str = "") -> list[Path]:
        """Fetch a released model's files; each is there whole, or not at all.

        Raises:
            FedeltaError: a file is not what the coordinator said it is.
        """
        request = messages.RunRequest(run=run)
        with self._named(), _Receiving(folder) as receiving:
            chunks = wires.question(self._channel, "Pull")(request, timeout=PATIENCE)
            taken = [receiving.take(chunk) for chunk in chunks]
        return [path for path in taken if path is not None]

    def _ask(self, name: str, request: Any) -> Any:
        with self._named():
            return wires.question(self._channel, name)(request, timeout=wires.DEADLINE)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Say in our words what gRPC says in its."""
        try:
            yield
        except grpc.RpcError as error:
            said: Any = error
            if said.code() == grpc.StatusCode.UNAVAILABLE:
                raise FedeltaError(
                    f"{self._where} does not answer, or shows another federation's "
                    f"certificate ({said.details().rpartition(': ')[2]}){self._remedy}"
                ) from error
            raise FedeltaError(f"{self._where}: {said.details()}") from error


@contextmanager
def status(folder: JoinFolder) -> Iterator[Status]:
    """The status service of the federation that a folder is part of."""
    invitation = folder.invitation
    channel = wires.channel(
        invitation.status,
        folder.authority.read_bytes(),
        keys.private_pem(folder.private),
        invitation.certificate.encode(),
    )
    try:
        yield Status(channel, invitation.status)
    finally:
        channel.close()


class _Receiving:
    """Files from chunks: written beside, checked, then put in their place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._path = Path()
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._part.unlink(missing_ok=True)

    @property
    def _part(self) -> Path:
        return self._path.with_name(f".{self._path.name}.part")

    def take(self, chunk: Any) -> Path | None:
        """Take a chunk in; the file's path if it was its last."""
        if self._file is None:
            self._begin(chunk)
        file = self._file
        if (
            file is None
            or chunk.size > LARGEST
            or file.tell() + len(chunk.data) > chunk.size
        ):
            raise FedeltaError(f"{chunk.path}: more came than was announced")
        file.write(chunk.data)
        self._digest.update(chunk.data)
        if not chunk.digest:
            return None
        if file.tell() != chunk.size or self._digest.hexdigest() != chunk.digest:
            raise FedeltaError(f"{chunk.path}: what came is not what was sent")
        file.flush()
        os.fsync(file.fileno())
        file.close()
        self._file = None
        self._part.replace(self._path)
        return self._path

    def _begin(self, chunk: Any) -> None:
        parts = PurePosixPath(chunk.path).parts
        if not parts or any(part in ("/", "..", ".") for part in parts):
            raise ConfigError(f"the coordinator sent a file named {chunk.path!r}")
        self._path = self._folder.joinpath(*parts)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._digest = hashlib.sha256()
        self._file = self._part.open("wb")

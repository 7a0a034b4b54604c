"""What a run keeps on disk so that it can be killed at any moment.

Replies are sealed, one by one, as they are accepted. A round is committed by its
manifest, which is written last and names everything else by digest; what is on disk
of a round without a manifest is taken up again (sealed replies) or written over.
"""

import fcntl
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ..client.identities import stem as stem_of
from ..protocols import digests
from ..protocols.errors import CheckpointError, ConfigError
from . import files, shelves

__all__ = ["Journal", "Sealed", "stem_of"]

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Sealed:
    """An accepted reply on disk.

    Attributes:
        client: whose.
        path: the payload's bytes.
        note: what the record says of it (bytes, seconds, loss, digest...).
    """

    client: str
    path: Path
    note: Mapping[str, Any]


class Journal:
    """The part of a run's folder that a resumed server reads.

    Args:
        folder: the run's folder.
        keep: how many rounds of sealed payloads stay; "all", "last" or a number.
    """

    def __init__(self, folder: Path, keep: str | int = "all") -> None:
        self.folder = folder
        self._keep = (
            {"all": 0, "last": 1}.get(keep, 0) if isinstance(keep, str) else keep
        )
        self._lock = -1

    def hold(self) -> None:
        """Take the folder for this process; a dead process holds nothing.

        Raises:
            ConfigError: another process works in it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sealed.mkdir(mode=0o700, exist_ok=True)  # replies are nobody else's
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise ConfigError(f"{self.folder}: another process runs here") from None
        self._lock = handle

    def release(self) -> None:
        """Give the folder back."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def seal(
        self, number: int, client: str, data: bytes, note: Mapping[str, Any]
    ) -> Sealed:
        """Put an accepted reply on disk; it is there once its payload is."""
        stem = self._round(number) / stem_of(client)
        files.write_json(
            stem.with_name(f"{stem.name}.json"), {"client": client, **note}
        )
        path = stem.with_name(f"{stem.name}.payload")
        files.write(path, data)
        return Sealed(client, path, note)

    def sealed(self, number: int) -> dict[str, Sealed]:
        """The accepted replies of a round, by client."""
        found: dict[str, Sealed] = {}
        for path in sorted(self._round(number).glob("*.payload")):
            note = files.read_json(path.with_name(f"{path.stem}.json"))
            client = str(note.pop("client"))
            if digests.of_bytes(path.read_bytes()) != note.get("digest"):
                raise CheckpointError(f"{path}: is not what was sealed")
            found[client] = Sealed(client, path, note)
        return found

    def since(self, number: int) -> dict[str, int]:
        """By client with a sealed reply, the round that it was asked in."""
        sealed = self.sealed(number).items()
        return {name: int(one.note.get("since", number)) for name, one in sealed}

    def write_update(self, version: int, data: bytes) -> str:
        """Keep a merged update as it goes to the clients; its digest."""
        files.write(self._update(version), data)
        return digests.of_bytes(data)

    def read_update(self, version: int, digest: str) -> bytes:
        """An update as it was sent.

        Raises:
            CheckpointError: it is not there or is another one.
        """
        path = self._update(version)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror}") from error
        if digests.of_bytes(data) != digest:
            raise CheckpointError(f"{path}: is not the update that was committed")
        return data

    def write_state(
        self, number: int, states: Mapping[str, Arrays]
    ) -> dict[str, Arrays]:
        """Keep what the server carries from one round to the next.

        Returns:
            The same, but what is large read from disk where it is asked for: until the
            next round is committed.
        """
        kept: dict[str, Arrays] = {}
        for name, arrays in states.items():
            path = self._state(number) / f"{name}.safetensors"
            large = shelves.write(path, arrays) > shelves.LARGE
            kept[name] = shelves.Shelf(path) if large else arrays
        return kept

    def read_state(self, number: int, name: str) -> Arrays:
        """What `write_state` kept of a committed round; nothing before round 1."""
        if not number:
            return {}
        path = self._state(number) / f"{name}.safetensors"
        shelf = shelves.Shelf(path)
        return shelf if path.stat().st_size > shelves.LARGE else dict(shelf)

    def commit(self, number: int, manifest: Mapping[str, Any]) -> None:
        """Commit a round: from here on it is done."""
        files.write_json(
            self._round(number) / "manifest.json", {"round": number, **manifest}
        )
        if number > 1:
            shutil.rmtree(self._state(number - 1), ignore_errors=True)
        if self._keep and number - self._keep >= 1:
            for path in self._round(number - self._keep).glob("*.payload"):
                path.unlink()

    def last(self) -> dict[str, Any] | None:
        """The manifest of the last committed round; None before the first."""
        found = sorted(self._sealed.glob("round-*/manifest.json"))
        return files.read_json(found[-1]) if found else None

    @property
    def _sealed(self) -> Path:
        return self.folder / "journal"

    def _round(self, number: int) -> Path:
        return self._sealed / f"round-{number:04}"

    def _update(self, version: int) -> Path:
        return self.folder / "updates" / f"{version:04}.payload"

    def _state(self, number: int) -> Path:
        return self.folder / "state" / f"round-{number:04}"

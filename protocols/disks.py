"""Files that are there whole or not at all, and stay there."""

import os
from pathlib import Path


def write(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a part.

    Temporary file, fsync, rename, fsync of the folder.

    Args:
        path: the file; folders above it are made.
        data: its bytes.
        private: only this user may read it, from its first byte on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(part, flags, 0o600 if private else 0o666), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Make a folder's entries, or a file's bytes, last."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Files that are there whole or not at all."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from ..protocols.disks import sync, write
from ..protocols.errors import CheckpointError, ConfigError

__all__ = [
    "read_arrays",
    "read_json",
    "sync",
    "unused",
    "whole",
    "write",
    "write_arrays",
    "write_json",
]


def unused(path: Path, *, more: str = "") -> None:
    """See that nothing is yet where ``--out`` points.

    Args:
        path: a file's or a folder's.
        more: another way out that the command has, such as ", or add --overwrite".

    Raises:
        ConfigError: something is.
    """
    if path.exists():
        raise ConfigError(f"{path} is there already: choose another by --out{more}")


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Write a folder that is there once all of it is, and not at all otherwise.

    Args:
        folder: its name; what is there is replaced.

    Yields:
        A hidden folder beside it, which takes its place, or is removed.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # a killed process may have left one
    part.mkdir(parents=True)
    try:
        yield part
        for path in sorted(part.rglob("*")):
            if path.is_file():
                path.chmod(0o644)  # some libraries write for their user alone
                sync(path)
        sync(part)
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object, indented for people, keys in the order given."""
    write(path, (json.dumps(value, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read one of our own JSON files.

    Raises:
        CheckpointError: it is not there or is none.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: is not a JSON object")
    return value


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays as safetensors."""
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write(path, safetensors.numpy.save(whole))


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read one of our own safetensors files.

    Raises:
        CheckpointError: it is not there or is none.
    """
    try:
        return safetensors.numpy.load(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except (safetensors.SafetensorError, KeyError) as error:
        raise CheckpointError(f"{path}: is not safetensors ({error})") from error

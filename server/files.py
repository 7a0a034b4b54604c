"""Files that are there whole or not at all."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from ..protocols.disks import sync, write
from ..protocols.errors import CheckpointError

__all__ = [
    "read_arrays",
    "read_json",
    "settle",
    "sync",
    "write",
    "write_arrays",
    "write_json",
]


def settle(part: Path, folder: Path) -> None:
    """Put a folder that was written elsewhere in its place, in place of what is there.

    Args:
        part: the new one, beside it.
        folder: its name; a crash leaves it whole, or not there.
    """
    for path in sorted(part.rglob("*")):
        if path.is_file():
            path.chmod(0o644)  # some libraries write for their user alone
            sync(path)
    sync(part)
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)
    sync(folder.parent)


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

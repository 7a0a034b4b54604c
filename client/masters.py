"""The weights that updates touch: a float32 master of each, and the way back.

Whatever the base computes in, updates are added up in float32: in bfloat16 a small
change would be rounded away. Where a weight is kept in float32 anyway, the master is
that weight; else the weight follows its master.
"""

import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ..aggregators import factors
from ..protocols.vectors import Floats

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

SPILLED = 1 << 26
"""Bytes of weights above which those to go back to lie on disk, not in memory."""


class Masters:
    """Masters of some weights.

    Args:
        weights: float32 by name, each an array of its own: updates are added in place.
        cache: a folder for what is too large to be kept twice in memory; empty: one
            for files that may outlive a restart.
        settle: called after every change of them.

    Example:
        >>> masters = Masters({"w": np.float32([1, 2])})
        >>> masters.fold({"w": np.float32([1, 1])})
        >>> masters.weights()["w"].tolist(), masters.origin()["w"].tolist()
        ([2.0, 3.0], [1.0, 2.0])
    """

    def __init__(
        self,
        weights: Mapping[str, Floats],
        cache: str = "",
        settle: Callable[[], None] | None = None,
    ) -> None:
        self._weights = dict(weights)
        self._settle = settle
        self._origin: Mapping[str, Floats]
        if sum(one.nbytes for one in self._weights.values()) > SPILLED:
            self._origin = Spilled(self._weights, cache)
        else:
            self._origin = {name: one.copy() for name, one in self._weights.items()}

    def weights(self) -> dict[str, Floats]:
        """The weights as they are now: live views."""
        return dict(self._weights)

    def origin(self) -> Mapping[str, Floats]:
        """The base's own weights: not to be written to."""
        return self._origin

    def restore(self, words: "Mapping[str, NDArray[np.uint32]]") -> None:
        """The weights whose words differ from the base's own by an exclusive or."""
        for name, value in self._origin.items():
            np.copyto(
                self._weights[name],
                (value.view(np.uint32) ^ words[name]).view(np.float32),
            )
        self.settle()

    def reset(self) -> None:
        """Back to the base's own bytes."""
        for name, value in self._origin.items():
            np.copyto(self._weights[name], value)
        self.settle()

    def fold(self, update: Mapping[str, Floats]) -> None:
        """Add an update: factors by module (scaling 1), dense changes by name."""
        weights = dict(self._weights)
        factors.fold(weights, update)
        for name, value in weights.items():
            if value is not self._weights[name]:
                np.copyto(self._weights[name], value)
        self.settle()

    def settle(self) -> None:
        """Have what follows the masters follow them."""
        if self._settle is not None:
            self._settle()


class Spilled(Mapping[str, Floats]):
    """Arrays in a file that is gone with the process, each read as it is asked for.

    Args:
        arrays: float32, by name.
        folder: where the file is; empty: the system's for such files.
    """

    def __init__(self, arrays: Mapping[str, Floats], folder: str) -> None:
        self._file = _scratch(folder)
        weakref.finalize(self, self._file.close)
        self._places: dict[str, tuple[int, tuple[int, ...]]] = {}
        for name, one in arrays.items():
            self._places[name] = self._file.tell(), one.shape
            self._file.write(np.ascontiguousarray(one).data)
        self._file.flush()

    def __getitem__(self, name: str) -> Floats:
        start, shape = self._places[name]
        found = np.empty(shape, np.float32)
        rest = found.reshape(-1).view(np.uint8).data
        while rest:
            count = os.preadv(self._file.fileno(), [rest], start)
            if not count:
                raise OSError(f"{name}: the scratch file was cut short")
            start, rest = start + count, rest[count:]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _scratch(folder: str) -> IO[bytes]:
    """A nameless file on disk; the usual place for them may be memory."""
    for place in (folder, "/var/tmp"):  # noqa: S108  nameless: nobody else can open it
        if place and Path(place).is_dir() and os.access(place, os.W_OK):
            return tempfile.TemporaryFile(dir=place)
    return tempfile.TemporaryFile()


def of_parameters(
    parameters: "Mapping[str, nn.Parameter]",
    more: Mapping[str, Floats] | None = None,
    cache: str = "",
) -> Masters:
    """Masters of a model's parameters, which follow them in whatever type they get.

    Args:
        parameters: by the names under which they travel, float32; each is taken out
            of its file's mapping.
        more: what updates touch beside them, and no parameter follows.
        cache: as for `Masters`.
    """
    weights: dict[str, Floats] = dict(more or {})
    for name, parameter in parameters.items():
        parameter.data = parameter.data.clone()
        weights[name] = parameter.data.numpy()

    def settle() -> None:
        import torch

        with torch.no_grad():
            for name, parameter in parameters.items():
                if parameter.dtype != torch.float32:
                    parameter.copy_(torch.from_numpy(weights[name]))

    return Masters(weights, cache, settle)

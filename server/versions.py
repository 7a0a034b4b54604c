"""The global model, version by version: the base, and every update folded into it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from ..aggregators import factors
from ..protocols import digests
from ..protocols.vectors import Floats


@dataclass(frozen=True, slots=True)
class Update:
    """One merged update as the clients get it.

    Attributes:
        digest: of its bytes.
        data: its bytes.
        tensors: what the bytes decode to, which is what everybody folds (with the
            factors that did not travel: see `Starts.completed`); of a run's own
            updates they are decoded as they are asked for.
    """

    digest: str
    data: bytes
    tensors: Mapping[str, Floats]


class Model(Protocol):
    """A base model at some version of it."""

    @property
    def digest(self) -> str:
        """What names the base before any update."""

    def weights(self) -> dict[str, Floats]:
        """What updates touch, as it is now: live views."""

    def fold(self, update: Mapping[str, Floats], digest: str = "") -> None:
        """Add an update."""


class Versions:
    """The float32 master of what training touches, and how it came to be.

    Args:
        base: digest of the base model.
        weights: by name, the base's weights that updates touch; they are copied.
            (`of` a base model takes its own, so that there is one copy of them.)

    Attributes:
        weights: the weights of the newest version.
        updates: all updates, oldest first.
        snapshot: a version's number and its snapshot's bytes, the last that was made.

    Example:
        >>> model = Versions("a" * 64, {"head": np.zeros(2, np.float32)})
        >>> model.add(Update("b" * 64, b"", {"head": np.float32([1, 2])}))
        >>> model.number, model.weights["head"].tolist()
        (1, [1.0, 2.0])
    """

    def __init__(self, base: str, weights: Mapping[str, Floats]) -> None:
        self.weights = {
            name: np.array(one, np.float32) for name, one in weights.items()
        }
        self.updates: list[Update] = []
        self.snapshot: tuple[int, bytes] | None = None
        self._names = [base]
        self._model: Model | None = None

    @classmethod
    def of(cls, model: Model) -> Self:
        """The versions of a base model, which goes along with every update.

        Args:
            model: at its own bytes.
        """
        found = cls(model.digest, {})
        found.weights, found._model = model.weights(), model
        return found

    @property
    def number(self) -> int:
        """How many updates are in the newest version."""
        return len(self.updates)

    @property
    def base(self) -> str:
        """Name of the newest version: what training starts from."""
        return self._names[-1]

    @property
    def digest(self) -> str:
        """`model_digest`: SHA-256 over the newest version's weights."""
        return digests.of_tensors(self.weights)

    def base_at(self, version: int) -> str:
        """Name of an earlier version: after so many updates."""
        return self._names[version]

    def add(self, update: Update) -> None:
        """Fold an update in."""
        if self._model is not None:
            self._model.fold(update.tensors, update.digest)
        else:
            factors.fold(self.weights, update.tensors)
        self.updates.append(update)
        self._names.append(digests.chain(self._names[-1], update.digest))

    def since(self, version: int) -> list[Update]:
        """The updates that somebody who holds a version lacks, oldest first."""
        return self.updates[version:]

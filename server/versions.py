"""The global model, version by version: the base, and every update folded into it."""

from collections.abc import Mapping
from dataclasses import dataclass

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
        tensors: what the bytes decode to, which is what everybody folds; of a run's
            own updates they are decoded as they are asked for.
    """

    digest: str
    data: bytes
    tensors: Mapping[str, Floats]


class Versions:
    """The float32 master of what training touches, and how it came to be.

    Args:
        base: digest of the base model.
        weights: by name, the base's weights that updates touch; they are copied.

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

    def add(self, update: Update) -> None:
        """Fold an update in."""
        factors.fold(self.weights, update.tensors)
        self.updates.append(update)
        self._names.append(digests.chain(self._names[-1], update.digest))

    def since(self, version: int) -> list[Update]:
        """The updates that somebody who holds a version lacks, oldest first."""
        return self.updates[version:]

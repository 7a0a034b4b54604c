"""A base model with another update folded in, for as long as it is looked at."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from ..aggregators import factors
from ..protocols.vectors import Floats
from .models import Base


@contextmanager
def trial(
    base: Base, update: Mapping[str, Floats], share: float = 1.0
) -> Iterator[Base]:
    """The base with so much of an update folded in; afterwards its bytes are back.

    Args:
        base: at any version.
        update: factors by module (scaling 1) and dense changes by name; empty: none.
        share: what the update is multiplied by.
    """
    if not update:
        yield base
        return
    held, applied = base.weights(), base.applied
    completed = base.starts.completed(update, len(applied) + 1)
    changed = factors.shapes(completed)
    kept = {name: held[name].copy() for name in changed}
    try:
        base.fold(scaled(update, share))
        base.applied = applied  # what is tried next, on top, is of the same round
        yield base
    finally:
        for name, value in kept.items():
            np.copyto(held[name], value)
        base.settle()
        base.applied = applied


def scaled(update: Mapping[str, Floats], share: float) -> Mapping[str, Floats]:
    """An update times a number: of a pair one factor alone.

    Example:
        >>> scaled({"w": np.float32([2]), "m.lora_A.weight": np.float32([[1]])}, 0.5)
        {'w': array([1.], dtype=float32), 'm.lora_A.weight': array([[1.]], \
dtype=float32)}
    """
    if share == 1.0:
        return update
    return {
        name: value if name.endswith(factors.A_NAME) else np.float32(share) * value
        for name, value in update.items()
    }

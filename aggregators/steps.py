"""What a server optimiser is, and the values it moves: tensors, or low-rank pairs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..protocols.vectors import Floats
from . import factors
from .factors import A_NAME, B_NAME

State = Mapping[str, npt.NDArray[Any]]
Kept = dict[str, npt.NDArray[Any]]
Step = Callable[[Mapping[str, Floats], State], tuple[dict[str, Floats], Kept]]
Value = Floats | tuple[Floats, Floats]  # a change, or the pair (b, a) of one


@dataclass(frozen=True, slots=True)
class Optimizer:
    """A server optimiser.

    Attributes:
        text: how it is written in a config.
        step: from the merged update and the state ({} at first) to the update that is
            sent and the next state, arrays by name.
        rest: how it keeps what was cut off of a product behind it: "stack" (the pair
            NAME|rest.b, NAME|rest.a), "dense" (NAME|rest), or "" where it has none and
            what was cut off goes before it.
        average: where the model to hand out is another than the one to train on: from
            the state, what leads from the latter to the former. Fold it into a copy.
    """

    text: str
    step: Step
    rest: str = ""
    average: Callable[[State], dict[str, Floats]] | None = None


def values(update: Mapping[str, Floats]) -> Iterator[tuple[str, Value]]:
    """An update's values by name; a pair by its module's, a B without A by its own."""
    for name in sorted(update):
        module = name.removesuffix(B_NAME)
        if name.endswith(B_NAME) and module + A_NAME in update:
            yield module, (update[name], update[module + A_NAME])
        elif not name.endswith(A_NAME):
            yield name, update[name]


def named(name: str, value: Value) -> dict[str, Floats]:
    """A value as the tensors of an update."""
    if isinstance(value, tuple):
        return {name + B_NAME: value[0], name + A_NAME: value[1]}
    return {name: value}


def combined(parts: Sequence[tuple[Value, float]]) -> Value:
    """A weighted sum of values of one kind; of pairs, the stack at its own rank.

    Example:
        >>> combined([(np.float32([1, 2]), 2.0), (np.float32([1, 0]), -1.0)])
        array([1., 4.], dtype=float32)
    """
    if not isinstance(parts[0][0], tuple):
        total = sum(np.asarray(value, np.float64) * times for value, times in parts)
        return np.asarray(total).astype(np.float32)
    made = stack(parts, 1 << 30)
    used = int(np.count_nonzero(np.any(made.b != 0, axis=0)))
    return made.b[:, :used], made.a[:used]


def stack(parts: Sequence[tuple[Value, float]], rank: int) -> factors.Reduced:
    """A weighted sum of pairs, brought down to a rank."""
    bs = [value[0].astype(np.float64) * times for value, times in parts]
    return factors.stacked(
        bs, [value[1].astype(np.float64) for value, _ in parts], rank
    )


def put(kept: Kept, name: str, slot: str, value: Value) -> None:
    """Keep a value in a state."""
    if isinstance(value, tuple):
        kept[f"{name}|{slot}.b"], kept[f"{name}|{slot}.a"] = value
    else:
        kept[f"{name}|{slot}"] = value


def got(state: State, name: str, slot: str) -> Value | None:
    """What a state keeps, if it does."""
    if f"{name}|{slot}.b" in state:
        return state[f"{name}|{slot}.b"], state[f"{name}|{slot}.a"]
    return state.get(f"{name}|{slot}")

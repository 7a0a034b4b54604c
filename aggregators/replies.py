"""A round's accepted replies, what their merge comes to, and what they change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from ..protocols.errors import PayloadError
from ..protocols.vectors import Contribution, Floats, Pair
from .furthers import is_further


@dataclass(frozen=True, slots=True)
class Arrival:
    """One accepted reply.

    Attributes:
        name: the client's.
        contribution: what it sent.
        share: what it counts for, above 0 (its examples, or 1); recipes that add
            count everybody once.
        region: which branch of the tree it belongs to.
        pairs: which of its tensors are low-rank pairs.
        start: by name, what a factor's change is counted from (A at the round's
            beginning); B starts at 0.
    """

    name: str
    contribution: Contribution
    share: int = 1
    region: str = ""
    pairs: tuple[Pair, ...] = ()
    start: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Merged:
    """What a round's merge comes to.

    Attributes:
        update: for a pair of weight "m.weight" the tensors "m.lora_B.weight" [out, R]
            and "m.lora_A.weight" [R, in] with change ``B A``; other tensors' changes
            by their own names. In "residual" all are dense, "m.weight" too; in
            "frozen-a" only B is there, A being what everybody has.
        carry: what was cut off, to be handed to the next round's merge.
        report: numbers for the round's record: "rank", "truncation" (relative
            Frobenius error of all products), "truncation_max" (of the worst one).
    """

    update: dict[str, Floats]
    carry: dict[str, npt.NDArray[Any]]
    report: dict[str, float]


def whole(one: Arrival) -> list[str]:
    """The changed tensors that are no pair's."""
    paired = {name for pair in one.pairs for name in (pair.a, pair.b)}
    names = one.contribution.layout.names
    return [name for name in names if name not in paired and not is_further(name)]


def paired_shapes(held: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """[out, in] of every weight that any reply changes."""
    shapes: dict[str, tuple[int, int]] = {}
    for name, given in held.items():
        for weight, one in given.items():
            shape = (len(one.b), one.a.shape[1])
            if shapes.setdefault(weight, shape) != shape:
                reason = f"{name} changes {shape}, others {shapes[weight]}"
                raise PayloadError(reason, tensor=weight)
    return shapes

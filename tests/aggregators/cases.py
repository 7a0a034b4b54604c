"""Cohorts of one tensor, merged by a recipe's text, for tests against oracles."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from fedelta.aggregators.base import Key, Member
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.reductions import reduce
from fedelta.protocols import seeds
from fedelta.protocols.vectors import Floats, TaskVector

Reals = npt.NDArray[np.float64]


class Tolerance(TypedDict):
    """How near is near enough, as numpy asks it."""

    rtol: float
    atol: float


KEY = Key("ab" * 8, 4)


def floats(values: npt.ArrayLike) -> Floats:
    """As models hold them."""
    return np.asarray(values, np.float32)


def reals(values: npt.ArrayLike) -> Reals:
    """As oracles compute with them."""
    return np.asarray(values, np.float64)


def drawn(count: int, *shape: int, what: str = "case") -> list[Reals]:
    """Normal numbers that float32 holds."""
    size = int(np.prod(shape))
    return [
        seeds.normal(seeds.key(what, place), 0, size)
        .astype(np.float32)
        .astype(float)
        .reshape(shape)
        for place in range(count)
    ]


def merged(
    text: str,
    vectors: Sequence[npt.ArrayLike],
    shares: Sequence[int] = (),
    name: str = "w",
) -> Reals:
    """One tensor of every member, merged."""
    members = [
        Member(f"m{place}", TaskVector.of({name: np.asarray(value, np.float32)}), share)
        for place, (value, share) in enumerate(
            zip(vectors, shares or [1] * len(vectors), strict=True)
        )
    ]
    return reduce(recipe(text), members, KEY).tensors[name].astype(float)

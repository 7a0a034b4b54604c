"""Cohorts of one tensor, merged by a recipe's text, for tests against oracles."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fedelta.aggregators.base import Key, Member
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.reductions import reduce
from fedelta.protocols import seeds
from fedelta.protocols.vectors import TaskVector

Reals = npt.NDArray[np.float64]

KEY = Key("ab" * 8, 4)


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

"""The same merges as other tools make, where their definitions meet."""

import numpy as np
import pytest

from fedelta.aggregators.base import Key, Member
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.reductions import reduce
from fedelta.protocols import seeds
from fedelta.protocols.vectors import Floats, TaskVector

pytestmark = pytest.mark.peer("torch", "peft")


def vectors(count: int) -> list[Floats]:
    return [
        seeds.normal(seeds.key("peer", place), 0, 5000).astype(np.float32)
        for place in range(count)
    ]


def ours(text: str, values: list[Floats], shares: list[int]) -> Floats:
    members = [
        Member(f"{place}", TaskVector.of({"w": value}), share)
        for place, (value, share) in enumerate(zip(values, shares, strict=True))
    ]
    return reduce(recipe(text), members, Key()).tensors["w"]


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("election", ["mass", "count"])
@pytest.mark.parametrize("density", [0.2, 0.5])
def test_ties_of_equal_weights_is_pefts(
    count: int, election: str, density: float
) -> None:
    import torch
    from peft.utils.merge_utils import ties

    values = vectors(count)
    theirs = ties(
        [torch.from_numpy(value) for value in values],
        torch.ones(count),
        density,
        "total" if election == "mass" else "frequency",
    ).numpy()
    made = ours(f"ties(density={density}, election={election!r})", values, [1] * count)
    settled = np.ones(5000, bool)
    if election == "count":  # peft takes the positive side of a draw, we take none
        kept = np.array([_trimmed(value, density) for value in values])
        settled = np.sign(kept).sum(0) != 0
    np.testing.assert_allclose(made[settled], theirs[settled], rtol=1e-6, atol=1e-7)
    assert not made[~settled].any()


def test_task_arithmetic_is_pefts() -> None:
    import torch
    from peft.utils.merge_utils import task_arithmetic

    values = vectors(3)
    weights = [2, 1, 5]
    theirs = task_arithmetic(
        [torch.from_numpy(value) for value in values],
        torch.tensor(weights, dtype=torch.float32),
    ).numpy()
    made = ours("task_arithmetic", values, weights)
    np.testing.assert_allclose(made, theirs, rtol=1e-5, atol=1e-5)


def _trimmed(value: Floats, density: float) -> Floats:
    least = np.sort(np.abs(value))[-round(density * value.size)]
    return np.where(np.abs(value) >= least, value, np.float32(0))

"""RegMean: the definition, where it is the mean, and what is refused."""

from typing import Any

import numpy as np
import pytest

from fedelta.aggregators.base import Member
from fedelta.aggregators.furthers import GRAM, Attached
from fedelta.aggregators.merges import merge
from fedelta.aggregators.recipes import properties, recipe
from fedelta.aggregators.reductions import reduce
from fedelta.protocols.errors import BoundsError, ConfigError, PayloadError
from fedelta.protocols.vectors import TaskVector

from .cases import KEY, Reals, drawn

near: dict[str, Any] = {"rtol": 2e-4, "atol": 2e-5}


def inputs(count: int, width: int) -> list[Reals]:
    return drawn(count, 40, width, what="inputs")


def regressed(
    changes: list[Reals], rows: list[Reals], shares: list[int], alpha: float
) -> Reals:
    """Jin et al. 2023, equation 2 with section 3.3's smaller off-diagonals."""
    above, below = np.zeros(changes[0].T.shape), np.zeros((rows[0].shape[1],) * 2)
    for x, inside, share in zip(changes, rows, shares, strict=True):
        gram = inside.T @ inside / len(inside)
        smaller = alpha * gram + (1 - alpha) * np.diag(np.diag(gram))
        above += share * smaller @ x.T
        below += share * smaller
    return np.asarray(np.linalg.inv(below) @ above).T


def cohort(changes: list[Reals], rows: list[Reals], shares: list[int]) -> list[Member]:
    made = []
    for place, (x, inside, share) in enumerate(zip(changes, rows, shares, strict=True)):
        vector = TaskVector.of(
            {"w": np.asarray(x, np.float32), "bias": np.full(2, place, np.float32)}
        )
        gram = np.asarray(inside.T @ inside / len(inside), np.float32)
        joined = Attached(vector, TaskVector.of({"w": gram}), GRAM)
        made.append(Member(f"m{place}", joined, share))
    return made


@pytest.mark.parametrize("alpha", [0.5, 0.9, 1.0])
def test_regmean(alpha: float) -> None:
    changes, shares = drawn(3, 5, 6), [1, 2, 3]
    rows = inputs(3, 6)
    text = f"regmean({alpha}, gain=0.5)"
    made = reduce(recipe(text), cohort(changes, rows, shares), KEY)
    wanted = 0.5 * regressed(changes, rows, shares, alpha)
    np.testing.assert_allclose(made.tensors["w"], wanted, **near)
    np.testing.assert_allclose(made.tensors["bias"], 0.5 * (2 + 6) / 6, rtol=1e-6)
    assert made.layout.names == ("bias", "w")


def test_outputs_are_nearer_than_the_means() -> None:
    changes, rows = drawn(2, 5, 6), inputs(2, 6)
    rows[0][:, :3] *= 10
    rows[1][:, 3:] *= 10
    made = reduce(recipe("regmean(1)"), cohort(changes, rows, [1, 1]), KEY)

    def missed(found: Reals) -> float:
        return sum(
            float(np.linalg.norm(inside @ (found - x).T))
            for x, inside in zip(changes, rows, strict=True)
        )

    assert missed(made.tensors["w"].astype(float)) < 0.5 * missed(
        np.mean(changes, axis=0)
    )


def test_an_input_that_never_moves_leaves_the_mean() -> None:
    changes, rows = drawn(3, 4, 5), inputs(3, 5)
    for one in rows:
        one[:, 2] = 0
    made = reduce(recipe("regmean"), cohort(changes, rows, [1, 1, 2]), KEY)
    sizes = [share * np.sum(one**2) for share, one in zip([1, 1, 2], rows, strict=True)]
    mean = np.average(changes, axis=0, weights=sizes)
    np.testing.assert_allclose(made.tensors["w"][:, 2], mean[:, 2], rtol=1e-3)


def test_offline_with_given_gram_matrices() -> None:
    changes, rows = drawn(2, 4, 3), inputs(2, 3)
    base = {"w": np.ones((4, 3), np.float32), "norm": np.ones(3, np.float32)}
    models = [
        {"w": np.asarray(1 + x, np.float32), "norm": np.full(3, 2, np.float32)}
        for x in changes
    ]
    grams = [{"w": np.asarray(one.T @ one / 40, np.float32)} for one in rows]
    made = merge(models, "regmean", base=base, further=grams)
    wanted = 1 + regressed(changes, rows, [1, 1], 0.9)
    np.testing.assert_allclose(made["w"], wanted, **near)
    np.testing.assert_allclose(made["norm"], 2, rtol=1e-6)
    wrong = [{"w": np.ones((4, 4), np.float32)}] * 2
    with pytest.raises(PayloadError, match="no Gram matrix of its shape"):
        merge(models, "regmean", base=base, further=wrong)
    with pytest.raises(PayloadError, match="needs Gram matrices"):
        merge(models, "regmean", base=base)
    with pytest.raises(ConfigError, match="nothing beside"):
        merge(models, "fedavg", base=base, further=grams)


def test_what_is_no_gram_matrix_is_refused() -> None:
    vector = TaskVector.of({"w": np.ones((2, 3), np.float32)})
    for shape, error in (((2, 2), PayloadError), ((3, 3), BoundsError)):
        gram = TaskVector.of({"w": np.full(shape, -1, np.float32)})
        one = Member("a", Attached(vector, gram, GRAM))
        with pytest.raises(error, match="gram"):
            reduce(recipe("regmean"), [one], KEY)


def test_where_it_means_something() -> None:
    assert properties(recipe("regmean"), "full").maskable
    with pytest.raises(ConfigError, match="not in factors"):
        properties(recipe("regmean"), "factors")
    with pytest.raises(ConfigError, match="alpha"):
        recipe("regmean(1.5)")

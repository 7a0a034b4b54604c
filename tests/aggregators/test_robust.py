"""Robust rules against their papers, computed plainly on whole vectors."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from fedelta.aggregators.base import Member
from fedelta.aggregators.recipes import properties, recipe
from fedelta.aggregators.reductions import reduce
from fedelta.aggregators.selections import buckets
from fedelta.aggregators.spaces import Arrival, merge_round
from fedelta.protocols.errors import ConfigError, QuorumError
from fedelta.protocols.vectors import Pair, TaskVector

from .cases import KEY, Reals, Tolerance, drawn, floats, merged

near: Tolerance = {"rtol": 1e-5, "atol": 1e-6}


def krum_order(vectors: list[Reals], hostile: int) -> list[int]:
    """Blanchard et al. 2017: distances to the K - f - 2 nearest others."""
    scores = []
    for i, x in enumerate(vectors):
        far = sorted(
            float(((x - y) ** 2).sum()) for j, y in enumerate(vectors) if j != i
        )
        scores.append(sum(far[: len(vectors) - hostile - 2]))
    return sorted(range(len(vectors)), key=lambda i: scores[i])


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_median_and_trimmed_mean(count: int) -> None:
    """Yin et al. 2018; claimed weights do not count."""
    vectors = drawn(count, 4, 9)
    shares = list(range(1, count + 1))
    np.testing.assert_allclose(
        merged("median", vectors, shares), np.median(vectors, axis=0), **near
    )
    ordered = np.sort(vectors, axis=0)
    cut = int(0.2 * count + 1e-9)
    wanted = ordered[cut : count - cut].mean(0)
    made = merged("trimmed_mean(0.2)", vectors, shares)
    np.testing.assert_allclose(made, wanted, **near)


def test_who_weighs_nothing_is_left_out() -> None:
    made = merged("median", [[1.0], [5.0], [9.0]], [1, 0, 1])
    assert made.tolist() == [5.0]
    assert merged("magmax", [[1.0], [9.0]], [1, 0]).tolist() == [1.0]


@pytest.mark.parametrize("hostile", [0, 1, 2])
def test_krum_and_multi_krum(hostile: int) -> None:
    vectors = drawn(7, 30)
    order = krum_order(vectors, hostile)
    made = merged(f"krum({hostile})", vectors)
    np.testing.assert_allclose(made, vectors[order[0]], **near)
    made = merged(f"multi_krum({hostile})", vectors)
    wanted = np.mean([vectors[i] for i in order[: 7 - hostile]], axis=0)
    np.testing.assert_allclose(made, wanted, **near)
    made = merged(f"multi_krum({hostile}, count=3)", vectors)
    wanted = np.mean([vectors[i] for i in order[:3]], axis=0)
    np.testing.assert_allclose(made, wanted, **near)


def test_bulyan() -> None:
    """El Mhamdi et al. 2018, algorithm of section 4, f = 1 of 7."""
    vectors = drawn(7, 40)
    left = list(range(7))
    picked: list[int] = []
    while len(picked) < 5:
        part = [vectors[i] for i in left]
        best = 0 if len(left) < 4 else krum_order(part, 1)[0]
        picked.append(left.pop(best))
    values = np.array([vectors[i] for i in sorted(picked)])
    wanted = []
    for column in values.T:
        middle = np.median(column)
        nearest = sorted(column, key=lambda x: abs(x - middle))[:3]
        wanted.append(np.mean(nearest))
    np.testing.assert_allclose(merged("bulyan(1)", vectors), wanted, **near)


def test_geometric_median_has_no_better_neighbour() -> None:
    vectors, shares = drawn(5, 12), [1, 2, 1, 3, 1]
    made = merged("geometric_median(steps=500, weighted=True)", vectors, shares)

    def cost(point: Reals) -> float:
        far = [np.linalg.norm(point - x) for x in vectors]
        return float(np.dot(shares, far))

    best = cost(made)
    for step in drawn(50, 12, what="step"):
        assert best <= cost(made + 1e-3 * step) + 1e-9


def test_geometric_median_of_three_on_a_line_is_the_middle_one() -> None:
    made = merged("geometric_median(1000)", [[0.0], [1.0], [100.0]])
    assert made == pytest.approx([1.0], abs=1e-3)
    assert merged("geometric_median", [[2.0], [2.0]]).tolist() == [2.0]


@pytest.mark.parametrize("radius", [0.5, 3.0, 1e9])
def test_centered_clipping(radius: float) -> None:
    """Karimireddy et al. 2021, algorithm 2, from 0."""
    vectors, shares = drawn(5, 20), [1, 2, 1, 3, 1]
    center = np.zeros(20)
    for _ in range(4):
        center = center + sum(
            w / 8 * (x - center) * min(1.0, radius / float(np.linalg.norm(x - center)))
            for w, x in zip(shares, vectors, strict=True)
        )
    made = merged(
        f"centered_clipping({radius}, steps=4, weighted=True)", vectors, shares
    )
    np.testing.assert_allclose(made, center, **near)


def test_nearest_neighbour_mixing() -> None:
    """Allouah et al. 2023, algorithm 2, then the median."""
    vectors = drawn(6, 15)
    mixed = []
    for x in vectors:
        order = sorted(range(6), key=lambda j: float(((x - vectors[j]) ** 2).sum()))
        mixed.append(np.mean([vectors[j] for j in order[:5]], axis=0))
    wanted = np.median(mixed, axis=0)
    np.testing.assert_allclose(merged("nnm(median, 1)", vectors), wanted, **near)


def test_bucketing() -> None:
    """Karimireddy et al. 2022, algorithm 1, under its keyed order."""
    vectors = drawn(7, 15)
    weights = buckets(7, 3, KEY)
    assert sorted((weights > 0).sum(1).tolist()) == [1, 3, 3]
    wanted = np.median(weights @ np.array(vectors), axis=0)
    made = merged("bucketing(median, size=3)", vectors)
    np.testing.assert_allclose(made, wanted, **near)
    made = merged("bucketing(fedavg, size=1)", vectors)
    np.testing.assert_allclose(made, np.mean(vectors, axis=0), **near)


@pytest.mark.parametrize(
    "text",
    [
        "median",
        "trimmed_mean(0.3)",
        "geometric_median",
        "centered_clipping",
        "krum(1)",
        "multi_krum(1, count=2)",
        "bulyan(1)",
        "nnm(median, 1)",
        "bucketing(krum(0), size=1)",
    ],
)
def test_one_hostile_member_cannot_move_the_result_far(text: str) -> None:
    honest = [np.ones(50) + 0.1 * x for x in drawn(6, 50)]
    made = merged(text, [*honest, np.full(50, -1e6)], [1] * 6 + [1000])
    assert float(np.linalg.norm(made - 1)) < 7.1


@pytest.mark.parametrize(
    "text", ["krum(1)", "multi_krum(1)", "bulyan(1)", "nnm(median, 5)"]
)
def test_too_few_members_are_refused_with_the_number_needed(text: str) -> None:
    with pytest.raises(QuorumError, match="needs at least"):
        merged(text, drawn(3, 4))


@pytest.mark.parametrize(
    "text",
    [
        "trimmed_mean(0.5)",
        "trimmed_mean(-0.1)",
        "krum(-1)",
        "multi_krum(count=-1)",
        "geometric_median(0)",
        "centered_clipping(-1)",
        "bucketing(size=0)",
        "nnm(ties)",
        "bucketing(task_arithmetic)",
        "nnm(grouped(median, median))",
    ],
)
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        recipe(text)


def lora(name: str, at: int, turn: Callable[[Reals], Reals]) -> Arrival:
    b, a = drawn(2, 6, 2, what=f"lora {at}")
    twist = turn(np.eye(2))
    held = {
        "m.lora_B.weight": floats(b @ twist),
        "m.lora_A.weight": floats(np.linalg.inv(twist) @ a.T),
    }
    pair = Pair("m.weight", "m.lora_A.weight", "m.lora_B.weight", 0.5)
    return Arrival(
        name, TaskVector.of(held), 1, "north" if at % 2 else "south", (pair,)
    )


@pytest.mark.parametrize(
    "text",
    [
        "krum(1)",
        "median",
        "nnm",
        "model_stock",
        "karcher",
        "ties",
        "trim(0.3) | fedavg",
    ],
)
def test_in_product_space_a_gauge_changes_nothing(text: str) -> None:
    plain = [lora(f"c{k}", k, lambda one: one) for k in range(5)]
    twisted = [lora(f"c{k}", k, lambda one: one * 4 + 1) for k in range(5)]
    results = [
        merge_round(recipe(text), "product", cohort, key=KEY, rank_down=6, regions=r)
        for cohort, r in itertools.product((plain, twisted), (False, True))
    ]
    products = [
        r.update["m.lora_B.weight"] @ r.update["m.lora_A.weight"] for r in results
    ]
    assert products[0].tobytes() == products[1].tobytes()
    np.testing.assert_allclose(products[0], products[2], rtol=1e-3, atol=1e-4)


def test_what_needs_its_cohort_says_so() -> None:
    for space in ("product", "factors", "full"):
        held = properties(recipe("median"), space)
        assert (held.family, held.tree, held.maskable, held.linear) == (
            "cohort",
            True,
            False,
            False,
        )


def test_a_sparse_reply_counts_as_zero_where_it_is_silent() -> None:
    members = [
        Member(f"{k}", TaskVector.of({"w": floats(v)}))
        for k, v in enumerate([[3.0], [0.0], [0.0]])
    ]
    assert reduce(recipe("median"), members, KEY).tensors["w"].tolist() == [0.0]


def test_trust_follows_the_probe() -> None:
    """Cao et al. 2021, algorithm 2, with the second member as the server's probe."""
    vectors = drawn(6, 30, what="trust")
    probe = vectors[1]
    vectors[4] = 50 * (probe + 0.1 * vectors[4])  # trusted, but not its length
    vectors[5] = -probe
    total, wanted = 0.0, np.zeros(30)
    for place, one in enumerate(vectors):
        norms = float(np.linalg.norm(one)), float(np.linalg.norm(probe))
        score = max(0.0, float(one @ probe) / (norms[0] * norms[1]))
        if place != 1:
            total += score
            wanted += score * norms[1] / norms[0] * one
    made = merged("fltrust(probe='m1')", vectors)
    np.testing.assert_allclose(made, wanted / total, **near)
    assert not merged("fltrust", [probe, -probe, -2 * probe]).any()
    with pytest.raises(QuorumError, match="'m7' did not reply"):
        merged("fltrust(probe='m7')", vectors)

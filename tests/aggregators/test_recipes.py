"""Recipes against the papers' definitions, and their texts."""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedelta.aggregators.base import Key, Member
from fedelta.aggregators.recipes import (
    METHODS,
    TRANSFORMS,
    describe,
    properties,
    recipe,
)
from fedelta.aggregators.reductions import reduce
from fedelta.protocols import seeds
from fedelta.protocols.errors import BoundsError, ConfigError, PayloadError, QuorumError
from fedelta.protocols.vectors import Floats, TaskVector

from ..strategies import SHAPES, Sparse, cohorts
from . import oracles

KEY = Key("aa" * 8, 2)
quick = settings(max_examples=40, deadline=None)
near = {"rtol": 2e-6, "atol": 1e-9}


def inputs(cohort: list[Member], name: str) -> list[oracles.Reals]:
    found = []
    for one in cohort:
        given = one.contribution
        vector = given.vector if isinstance(given, Sparse) else given
        assert isinstance(vector, TaskVector)
        found.append(vector.tensors[name].astype(np.float64))
    return found


def merged(text: str, cohort: list[Member]) -> dict[str, Floats]:
    return dict(reduce(recipe(text), cohort, KEY).tensors)


def clear(vectors: list[oracles.Reals], weights: list[int]) -> npt.NDArray[np.bool_]:
    """Where no election is a near tie, which fixed and floating point may see apart."""
    terms = np.array([w * v for v, w in zip(vectors, weights, strict=True)])
    total, size = np.abs(terms.sum(0)), np.abs(terms).sum(0)
    found: npt.NDArray[np.bool_] = (total > 1e-6 * size) | (total == 0)
    return found


@quick
@given(cohort=cohorts())
def test_fedavg(cohort: list[Member]) -> None:
    update = merged("fedavg", cohort)
    for name in SHAPES:
        wanted = oracles.fedavg(inputs(cohort, name), [one.share for one in cohort])
        np.testing.assert_allclose(update[name], wanted, rtol=2e-6, atol=1e-7)


@quick
@given(cohort=cohorts(), gain=st.floats(-2, 2))
def test_task_arithmetic(cohort: list[Member], gain: float) -> None:
    update = merged(f"task_arithmetic(gain={gain!r})", cohort)
    weights = [one.share for one in cohort]
    for name in SHAPES:
        wanted = oracles.task_arithmetic(inputs(cohort, name), weights, gain)
        scale = 1e-6 * sum(weights)
        np.testing.assert_allclose(update[name], wanted, rtol=2e-6, atol=scale)


@quick
@given(
    cohort=cohorts(),
    density=st.sampled_from([0.05, 0.2, 0.5, 0.7, 1.0]),
    election=st.sampled_from(["mass", "count"]),
)
def test_ties(cohort: list[Member], density: float, election: str) -> None:
    update = merged(f"ties(density={density}, election={election!r})", cohort)
    weights = [one.share for one in cohort]
    for name in SHAPES:
        vectors = inputs(cohort, name)
        wanted = oracles.ties(vectors, weights, density, 1.0, election)
        kept = [oracles.trimmed(vector, density) for vector in vectors]
        sure = clear(kept, weights)
        np.testing.assert_allclose(
            update[name][sure], wanted[sure], rtol=1e-5, atol=1e-9
        )


@quick
@given(cohort=cohorts(), density=st.sampled_from([0.1, 0.25, 0.3, 0.5, 1.0]))
def test_dare_and_dare_ties_under_their_masks(
    cohort: list[Member], density: float
) -> None:
    mean = merged(f"dare(density={density})", cohort)
    agreed = merged(f"dare_ties(density={density})", cohort)
    weights = [one.share for one in cohort]
    for name in SHAPES:
        vectors = []
        for one, vector in zip(cohort, inputs(cohort, name), strict=True):
            seed = KEY.of(one.name).seed("drop", name)
            mask = seeds.keep(seed, 0, vector.size, density)
            vectors.append(oracles.dropped(vector, mask, density))
        wanted = oracles.fedavg(vectors, weights)
        np.testing.assert_allclose(mean[name], wanted, rtol=2e-6, atol=1e-5)
        sure = clear(vectors, weights)
        np.testing.assert_allclose(
            agreed[name][sure],
            oracles.elected(vectors, weights)[sure],
            rtol=1e-5,
            atol=1e-8,
        )


@quick
@given(cohort=cohorts())
def test_grouped_is_a_merge_of_merges(cohort: list[Member]) -> None:
    update = merged("grouped(fedavg, ties(density=0.5))", cohort)
    groups = sorted({one.group for one in cohort})
    for name in SHAPES:
        results, weights = [], []
        for group in groups:
            part = [one for one in cohort if one.group == group]
            shares = [one.share for one in part]
            mean = oracles.fedavg(inputs(part, name), shares)
            results.append(mean.astype(np.float32).astype(np.float64))
            weights.append(sum(shares))
        kept = [np.sort(np.abs(one), axis=None) for one in results]
        if any(_close(sizes) for sizes in kept):
            continue  # rounding decides which of two near-equal values is trimmed
        wanted = oracles.ties(results, weights, 0.5)
        sure = clear(results, weights)
        np.testing.assert_allclose(
            update[name][sure], wanted[sure], rtol=1e-5, atol=1e-7
        )


def _close(sizes: oracles.Reals) -> bool:
    return any(b - a < 1e-5 and b > 0 for a, b in pairwise(sizes.tolist()))


def one(text: str, *vectors: list[float], shares: tuple[int, ...] = ()) -> list[float]:
    members = [
        Member(f"{i}", TaskVector.of({"w": np.array(v, np.float32)}), s)
        for i, (v, s) in enumerate(
            zip(vectors, shares or (1,) * len(vectors), strict=True)
        )
    ]
    return [float(x) for x in merged(text, members)["w"]]


def test_weights_count_before_the_election_and_in_the_mean() -> None:
    assert one("ties(1.0)", [1.0], [-0.6], shares=(1, 2)) == pytest.approx([-0.6])
    assert one("ties(1.0)", [1.0], [3.0], shares=(3, 1)) == [1.5]


@pytest.mark.parametrize("shares", [(1, 1), (600, 600)])
def test_where_signs_cancel_nothing_moves(shares: tuple[int, int]) -> None:
    assert one("ties(1.0)", [2.0, 1.0], [-2.0, 1.0], shares=shares) == [0.0, 1.0]


def test_the_count_elects_whatever_the_magnitudes() -> None:
    assert one("ties(1.0, election='count')", [-9.0], [1.0], [2.0]) == [1.5]


def test_large_and_small_shares_agree() -> None:
    few = one("ties(1.0)", [1.0, 0.3], [-0.4, 0.7], [2.0, -0.1], shares=(1, 2, 3))
    many = one(
        "ties(1.0)", [1.0, 0.3], [-0.4, 0.7], [2.0, -0.1], shares=(1000, 2000, 3000)
    )
    assert few == many


def test_the_largest_shares_do_not_overflow() -> None:
    top = float(np.finfo(np.float32).max)
    for shares in [(1023,), (1024,), (1 << 20,), (1 << 30,), (1 << 60,)]:
        assert one("ties(1.0)", [top, -top], shares=shares) == [top, -top]
        assert one("fedavg", [top, -top], shares=shares) == [top, -top]


def test_a_spread_over_many_spans() -> None:
    vector = seeds.normal(1, 0, 200_003).astype(np.float32)
    vector[vector.size // 2 :] = np.round(vector[vector.size // 2 :], 1)  # ties
    members = [Member("a", TaskVector.of({"w": vector}))]
    update = merged("ties(density=0.4)", members)["w"]
    kept = np.argsort(-np.abs(vector), kind="stable")[: int(np.ceil(0.4 * 200_003))]
    wanted = np.zeros_like(vector)
    wanted[kept] = vector[kept]
    assert np.array_equal(update, wanted)


@pytest.mark.parametrize("text", ["fedavg", "ties", "dare", "clip(1.0) | fedavg"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_name(text: str, bad: float) -> None:
    member = Member("mallory", TaskVector.of({"w": np.array([1, bad], np.float32)}))
    with pytest.raises(BoundsError, match="w: mallory"):
        merged(text, [member])


def test_nothing_to_merge() -> None:
    with pytest.raises(QuorumError):
        reduce(recipe("fedavg"), [], KEY)


def test_other_tensors_are_refused_by_name() -> None:
    a = Member("a", TaskVector.of({"w": np.zeros(2, np.float32)}))
    b = Member("b", TaskVector.of({"w": np.zeros(3, np.float32)}))
    with pytest.raises(PayloadError, match=r"w: shapes differ: \(2,\) and \(3,\)"):
        merged("fedavg", [a, b])
    with pytest.raises(PayloadError, match="counted twice: a"):
        merged("fedavg", [a, a])


@pytest.mark.parametrize(
    "text",
    [
        "ties(density=0)",
        "ties(density=1.5)",
        "ties(density=-0.1)",
        "dare(density=0.0)",
        "drop(2) | fedavg",
        "clip(0) | fedavg",
        "ties(election='loud')",
        "ties(scope='world')",
        "tis",
        "ties(densty=0.2)",
        "trim(0.2)",
        "fedavg | ties",
        "fedavg | clip(1.0)",
        "chain()",
        "chain(clip(1.0), trim(0.2))",
        "grouped(fedavg)",
        "grouped(fedavg, fedavg, by='moon')",
        "grouped(grouped(fedavg, ties), ties)",
        "fedavg(",
    ],
)
def test_what_is_asked_for_wrongly_is_said(text: str) -> None:
    with pytest.raises(ConfigError):
        recipe(text)


def test_texts_read_back() -> None:
    for text in ["fedavg", "clip(1.0) | ties(0.3) | scale(2.0)", "grouped(dare, ties)"]:
        made = recipe(text)
        assert recipe(made.text).text == made.text


def test_properties_follow_recipe_and_space() -> None:
    mean = recipe("fedavg")
    assert properties(mean, "product").family == "cohort"
    assert not properties(mean, "product").maskable
    assert properties(mean, "factors").maskable
    assert properties(recipe("ties"), "product").family == "sum"
    assert {one["name"] for one in describe()} >= {"fedavg", "ties", "dare", "grouped"}
    with pytest.raises(
        ConfigError,
        match="allowed: product, residual, frozen-a, share-a, core, factors, full",
    ):
        properties(mean, "outer")


FACTORIES: dict[str, Callable[..., Any]] = TRANSFORMS | {
    name: method.make for name, method in METHODS.items()
}


@pytest.mark.parametrize("name", FACTORIES)
def test_every_factory_says_what_it_costs_and_where_it_is_from(name: str) -> None:
    said = re.split(r"\n\s*\n", FACTORIES[name].__doc__ or "")
    cost = [one for one in said if one.strip().startswith("Cost: ")]
    source = [one for one in said if one.strip().startswith("Source: ")]
    assert len(cost) == 1
    assert re.search(r"O\(.+\)|as `\w+`", cost[0])
    assert len(source) == 1
    assert re.search(r"\b(19|20)\d\d\b|: none", source[0])

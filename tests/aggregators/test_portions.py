"""Noise in portions: the sum's deviation, its sensitivity, and what it is without."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given as drawn_from
from hypothesis import settings
from hypothesis import strategies as st

from fedelta.aggregators import portions
from fedelta.aggregators.base import Member
from fedelta.aggregators.noises import Mechanism, Noisy, clipped, length
from fedelta.aggregators.recipes import recipe
from fedelta.protocols import lattices, seeds
from fedelta.protocols.errors import BoundsError, ConfigError
from fedelta.protocols.secrets import Secret
from fedelta.protocols.vectors import Layout, Pair, TaskVector
from tests.veiled import Cohort, terms

NUMBERS = st.floats(-50, 50, width=32) | st.sampled_from(
    [0.0, 1e-9, 3e38, -1e20, math.inf]
)
VECTORS = st.lists(NUMBERS, min_size=6, max_size=6)
RECIPES = ("fedavg()", "ties(density=1.0)", "task_arithmetic()")
SIX = dict.fromkeys("abcdef", 1)


def agreed(text: str = "fedavg()", clip: float = 0.7, **more: Any) -> Any:
    """A round's terms with noise by clients."""
    given = {"mode": "client", "noise_by": "clients", "clip": clip, "release": 0}
    return terms(text, SIX, **given | {"noise_multiplier": 1.5} | more)


def summed(given: Any, contributions: list[Any]) -> Any:
    """All sums in units of a change, without noise."""
    state = portions.state(given)
    floats = [np.array(one, np.float32) for one in contributions]
    rows = [state.written(one, 1).astype(np.int64) for one in floats]
    zero = np.int64(1 << given.fraction)
    unit = math.ldexp(1.0, given.exponent - given.fraction)
    return sum((row - zero for row in rows), np.zeros((len(state.kinds), 6))) * unit


@settings(max_examples=80, deadline=None)
@drawn_from(
    st.lists(VECTORS, max_size=3),
    VECTORS,
    st.sampled_from(RECIPES),
    st.sampled_from([1e-3, 0.7, 6.0]),
    st.sampled_from([32, 64]),
)
def test_one_client_moves_the_sums_by_no_more_than_the_clip(
    others: Any, own: Any, text: str, clip: float, lane: int
) -> None:
    """On the grid, rounding and all: what is compared are whole numbers."""
    given = agreed(text, clip, lane=lane, bound=64.0, noise_multiplier=1.0)
    near, far = summed(given, others), summed(given, [*others, own])
    assert np.linalg.norm(far - near) <= clip


def test_the_bound_is_reached_and_a_coarse_grid_does_not_pass_it() -> None:
    own = np.full(6, 1.0)
    for lane in (32, 64):
        moved = np.linalg.norm(summed(agreed(lane=lane), [own]))
        assert 0.7 * (1 - 1e-4) < moved <= 0.7


@pytest.mark.parametrize("deviation", [8.0, 8.3, 50.0, 1e9])
def test_discrete_noise_has_the_chances_of_a_discrete_gaussian(
    deviation: float,
) -> None:
    made = lattices.discrete(Secret(bytes(32)), 3, 200_000, deviation)
    assert made.dtype == np.int64
    assert made.std() == pytest.approx(deviation, rel=0.01)
    assert abs(made.mean()) < 4 * deviation / math.sqrt(len(made))
    assert np.mean((made / deviation) ** 4.0) == pytest.approx(3.0, rel=0.05)
    assert np.abs(made).max() <= lattices.most(deviation)
    if deviation > 100:
        return
    near = np.arange(-400, 401)  # all of it: no normal number is beyond 8.3
    odds = np.exp(-0.5 * (near / deviation) ** 2)
    wanted = len(made) * odds / odds.sum()
    kept = wanted > 20
    found = np.array([(made == one).sum() for one in near[kept]])
    chi = float(((found - wanted[kept]) ** 2 / wanted[kept]).sum())
    assert chi < kept.sum() + 5 * math.sqrt(2 * kept.sum())
    with pytest.raises(BoundsError, match="allowed: 8"):
        lattices.discrete(Secret(bytes(32)), 0, 1, 7.9)


def test_each_place_of_the_rounding_is_as_likely_as_it_should_be() -> None:
    """Around 0.25: the narrow Gaussian's chances, not those of a rounded normal."""
    parts = np.full(100_000, 0.25)
    coins = Secret(bytes(32)).uniform(0, 100_000)
    found = lattices._rounded(parts, coins)
    odds = {k: math.exp(-((k - 0.25) ** 2) / 8.0) for k in range(-24, 26)}
    for k in (-4, -1, 0, 1, 3):
        wanted = odds[k] / math.fsum(odds.values())
        assert (found == k).mean() == pytest.approx(wanted, abs=0.004)


@pytest.mark.parametrize("text", RECIPES[:2])
@pytest.mark.parametrize("gone", [{}, {"input": ["c", "f"]}])
def test_the_opened_sum_has_the_stated_noise_whoever_survives(
    text: str, gone: Any
) -> None:
    """Real masks: of what is opened the plain sum of the same survivors is taken off.

    With as few survivors as there may be, less the colluders, it is the deviation that
    was stated; with more it is more.
    """
    given, size = agreed(text, colluders=1, threshold=4), 40_000
    cohort, state = Cohort(given, gone), portions.state(given)
    assert isinstance(state, portions.Portioned)
    draw = seeds.normal(5, 0, 6 * size).astype(np.float32).reshape(6, size)
    bare = {n: state.written(one, 1) for n, one in zip("abcdef", draw, strict=True)}
    noisy = {n: state.noised(one, Secret(n.encode() * 32)) for n, one in bare.items()}
    cohort.begin()
    words = {n: state.values.pack(one, 1) for n, one in noisy.items()}
    opened = cohort.sum(0, words)
    there = cohort.counted
    numbers = state.values.unpack(opened, size, len(there), len(there))
    rest: Any = state.read(numbers, len(there)).astype(np.float64)
    for name in there:
        rest -= bare[name].astype(np.int64) - np.int64(1 << given.fraction)
    rest *= math.ldexp(1.0, given.exponent - given.fraction)
    stated = 1.5 * 0.7
    share = stated / math.sqrt(4 - 1)
    assert given.noise == pytest.approx(share, rel=1e-9)
    for plane in rest:
        assert plane.std() == pytest.approx(share * math.sqrt(len(there)), rel=0.02)
        assert plane.std() > stated
        hidden = plane.std() * math.sqrt((len(there) - 1) / len(there))
        assert hidden >= stated * 0.98  # what the honest ones added
    if len(rest) > 1:
        assert abs(np.corrcoef(rest)[0, 1]) < 0.02


@pytest.mark.parametrize("text", RECIPES)
def test_without_noise_it_is_the_trusted_servers_merge(text: str) -> None:
    """Clipped sums, elected and divided alike, but for the grid."""
    given = agreed(text)
    state, draw = portions.state(given), seeds.normal(9, 0, 600)
    rows = draw.astype(np.float32).reshape(6, 100) * np.float32(0.2)
    planes = sum(state.written(one, 1).astype(np.int64) for one in rows)
    total = np.asarray(planes).astype(np.uint64)
    found = state.finish(state.read(total, 6), 6)
    layout = Layout.of({"w": (100,)})
    members = [Member(str(k), TaskVector.of({"w": one})) for k, one in enumerate(rows)]
    made = [clipped(one, length(one.contribution), 0.7) for one in members]
    mechanism = Mechanism(0.7, 0.0, 6.0)
    noisy = Noisy(recipe(text), layout, made, mechanism, lambda *a: np.zeros(a[2]))
    wanted = np.concatenate([noisy.block(span).values for span in layout.spans])
    np.testing.assert_allclose(found, wanted, atol=1e-7)


def test_coordinates_have_the_products_own_norm_and_lead_back() -> None:
    pair = Pair("m.weight", "m.lora_A.weight", "m.lora_B.weight", 0.5)
    draw = seeds.normal(4, 0, 60).astype(np.float32)
    b, a, head = draw[:12].reshape(4, 3), draw[12:33].reshape(3, 7), draw[33:40]
    made = portions.coordinates({pair.b: b, "head": head}, (pair,), {pair.a: a})
    whole = 0.5 * b.astype(np.float64) @ a
    assert np.linalg.norm(made[pair.b]) == pytest.approx(np.linalg.norm(whole))
    assert (made["head"] == head).all()
    back = portions.factors(made, (pair,), {pair.a: a})
    np.testing.assert_allclose(back[pair.b], 0.5 * b, atol=1e-6)
    with pytest.raises(ConfigError, match="lower it"):
        portions.coordinates({pair.b: b}, (pair,), {pair.a: a[:, :2]})


def test_noise_never_leaves_its_field() -> None:
    """The furthest numbers that the generator knows, on the largest clipped change."""
    given = agreed(bound=16.0)
    unit = math.ldexp(1.0, given.exponent - given.fraction)
    furthest = given.clip / unit + lattices.most(given.noise / unit)
    assert furthest <= 1 << given.fraction
    with pytest.raises(ConfigError, match=r"privacy.bound is 4: .* raise it"):
        agreed(bound=4.0)
    with pytest.raises(ConfigError, match="steps of the grid, 8 are needed"):
        agreed(lane=32, clip=1e-7)


def test_more_honest_clients_than_there_may_be_are_not_counted_on() -> None:
    assert agreed(honest=2).noise == pytest.approx(1.5 * 0.7 / math.sqrt(2))
    with pytest.raises(ConfigError, match="honest is 4, allowed: 1 to 3"):
        agreed(honest=4, threshold=4)


def test_terms_without_noise_say_nothing_of_it() -> None:
    given = agreed()
    assert type(given).from_json(given.to_json()) == given
    bare = replace(given, clip=0.0, noise=0.0)
    assert "noise" not in bare.to_json()
    assert type(given).from_json(bare.to_json()) == bare


@pytest.mark.parametrize(
    "text", ["ties(election='count')", "sign_vote()", "median", "min_agree(members=2)"]
)
def test_merges_of_more_than_sums_of_changes_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"more than sums of changes|no sum"):
        portions.kinds(recipe(text))

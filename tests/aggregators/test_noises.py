"""Sensitivities by brute force, noise as it is stated, and who counts with what."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given as drawn_from
from hypothesis import settings
from hypothesis import strategies as st

from fedelta.aggregators import factors, sensitivities
from fedelta.aggregators.base import Key, Member
from fedelta.aggregators.noises import Mechanism, Noisy, clipped, length, product_length
from fedelta.aggregators.privates import Private, Shape, basis, merge_private
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.spaces import Arrival
from fedelta.aggregators.tallies import Stack
from fedelta.protocols import seeds
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.secrets import Secret
from fedelta.protocols.vectors import Floats, Layout, Pair, TaskVector

NUMBERS = st.floats(-100, 100, width=32) | st.sampled_from([0.0, 1e-30, 3e38, -1e20])
VECTORS = st.lists(NUMBERS, min_size=6, max_size=6)
RECIPES = ("fedavg()", "ties(density=0.5)", "ties(density=1.0)", "drop(0.5) | fedavg()")
COUNTED = "ties(density=0.5, election='count')"


def silent(purpose: str, index: int, count: int) -> Any:
    return np.zeros(count)


def member(name: str, values: Any) -> Member:
    flat: Any = np.float32(values)
    return Member(name, TaskVector.of({"a": flat[:2], "b": flat[2:].reshape(2, 2)}))


def summed(text: str, members: list[Member], clip: float, counts: float) -> Any:
    """All planes of the sums that noise is added to, one behind the other."""
    from fedelta.aggregators.reductions import prepare

    chosen = recipe(text)
    made = []
    for one in members:
        ready = prepare(chosen, [one], Key("r", 1))[0]
        made.append(clipped(ready, length(ready.contribution), clip))
    layout = Layout.of({"a": (2,), "b": (2, 2)})
    noisy = Noisy(chosen, layout, made, Mechanism(clip, 0.0, 1.0, counts), silent)
    planes = [noisy.sums(span) for span in layout.spans]
    return np.concatenate([one for part in planes for one in part.values()])


@settings(max_examples=60, deadline=None)
@drawn_from(
    st.lists(VECTORS, min_size=0, max_size=3),
    VECTORS,
    st.sampled_from([*RECIPES, COUNTED]),
    st.floats(1e-3, 1e3),
    st.sampled_from([0.0, 0.25, 3.0]),
)
def test_one_client_moves_the_sums_by_no_more_than_the_bound(
    others: Any, own: Any, text: str, clip: float, counts: float
) -> None:
    if "count" in text and not counts:
        counts = 1.0
    if "fedavg" in text:
        counts = 0.0
    held = [member(f"m{place}", one) for place, one in enumerate(others)]
    near = summed(text, held, clip, counts)
    far = summed(text, [*held, member("z", own)], clip, counts)
    most = sensitivities.support(recipe(text), Layout.of({"a": (2,), "b": (2, 2)}))
    bound = sensitivities.bound(clip, counts, most)
    scale = max(1.0, float(np.abs(far).max()))
    assert np.linalg.norm(far - near) <= bound * (1 + 1e-12) + 1e-13 * scale


def test_the_bound_is_reached_and_split_sums_need_no_more_than_one() -> None:
    values = [3.0, -4.0, 0.0, 0.0, 0.0, 0.0]
    one = summed("ties(density=1.0)", [member("a", values)], 1.0, 0.0)
    assert 1 - 2e-6 < np.linalg.norm(one) <= 1.0
    both = summed("ties(density=1.0)", [member("a", values)], 1.0, 2.0)
    assert np.linalg.norm(both) == pytest.approx(math.sqrt(1 + 4 * 2), rel=1e-5)


@pytest.mark.parametrize("density", [0.5, 1.0])
@pytest.mark.parametrize("counts", [0.25, 3.0])
def test_every_sign_pattern_keeps_to_the_bound_of_ties_and_some_reach_it(
    density: float, counts: float
) -> None:
    """sqrt(C^2 + l^2 k): all 3^6 patterns, k being what the trim leaves at most."""
    text = f"ties(density={density})"
    most = sensitivities.support(recipe(text), Layout.of({"a": (2,), "b": (2, 2)}))
    assert most == (3 if density < 1 else 6)
    bound = sensitivities.bound(2.0, counts, most)
    assert bound == math.sqrt(4.0 + counts**2 * most)
    others = [member("m", [1, -1, 0, 2, -3, 0.5])]
    near = summed(text, others, 2.0, counts)
    found = []
    for signs in product((-1.0, 0.0, 1.0), repeat=6):
        own = [5.0 * one * (1 + place) for place, one in enumerate(signs)]
        far = summed(text, [*others, member("z", own)], 2.0, counts)
        found.append(float(np.linalg.norm(far - near)))
    assert max(found) <= bound
    assert max(found) == pytest.approx(bound, rel=1e-5)


def test_noise_has_the_stated_deviation_in_every_plane() -> None:
    layout = Layout.of({"w": (150_000,)})
    for text, counts in (("fedavg()", 0.0), ("ties(density=1.0)", 0.5)):
        mechanism = Mechanism(1.0, 2.5, 4.0, counts)
        noisy = Noisy(recipe(text), layout, [], mechanism, Secret(bytes(32)).normals)
        planes: dict[str, list[Any]] = {}
        for span in layout.spans:
            for name, one in noisy._noisy(span).items():
                planes.setdefault(name, []).append(one)
        whole = {name: np.concatenate(parts) for name, parts in planes.items()}
        assert sorted(whole) == (
            ["sum"] if text == "fedavg()" else ["down", "downs", "up", "ups"]
        )
        for one in whole.values():
            assert one.std() == pytest.approx(2.5, rel=0.01)
            assert abs(one.mean()) < 0.03
            assert np.mean(one**4) / one.std() ** 4 == pytest.approx(3.0, rel=0.05)
        drawn = list(whole.values())
        for other in drawn[1:]:
            assert abs(np.corrcoef(drawn[0], other)[0, 1]) < 0.01
    read = np.concatenate([noisy.block(span).values for span in layout.spans])
    assert np.isfinite(read).all()


def pairs(count: int, gauge: float = 1.0, huge: float = 1.0) -> tuple[Any, Any]:
    """Arrivals of one pair and a dense tensor, and what A starts from."""
    draw = seeds.normal(7, 0, 4000).astype(np.float32)
    start = draw[:15].reshape(3, 5)
    pair = Pair("m.weight", "m.lora_A.weight", "m.lora_B.weight", 0.5)
    found = []
    for place in range(count):
        own = draw[100 * (place + 1) :]
        b, a = own[:12].reshape(4, 3) * huge, own[12:27].reshape(3, 5)
        given = {
            pair.b: (b * np.float32(gauge)).astype(np.float32),
            pair.a: ((start + a) / np.float32(gauge) - start).astype(np.float32),
            "head": own[27:33] * np.float32(huge),
        }
        held = TaskVector.of(given)
        found.append(Arrival(f"c{place}", held, 1, "", (pair,), {pair.a: start}))
    layout = found[0].contribution.layout
    return found, Shape("product", layout, (pair,), {pair.a: start})


def tensors(one: Arrival) -> dict[str, Floats]:
    assert isinstance(one.contribution, TaskVector)
    return dict(one.contribution.tensors)


def change(update: Any) -> Any:
    b, a = factors.names("m.weight")
    return update[b].astype(np.float64) @ update[a]


def test_products_are_clipped_whatever_their_gauge_and_never_by_their_factors() -> None:
    mechanism = Mechanism(0.7, 0.0, 3.0)
    merged = []
    for gauge in (1.0, 16.0, 0.0625):
        found, shape = pairs(3, gauge)
        args = (recipe("fedavg()"), shape, found, mechanism, silent)
        made = merge_private(*args, key=Key("r", 1), rank_down=5).merged.update
        merged.append(np.concatenate([change(made).ravel(), made["head"]]))
    np.testing.assert_allclose(merged[1], merged[0], atol=1e-5)
    np.testing.assert_allclose(merged[2], merged[0], atol=1e-5)
    one, shape = pairs(1, huge=100.0)
    args = (recipe("fedavg()"), shape, one, mechanism, silent)
    made = merge_private(*args, key=Key("r", 1), rank_down=5).merged.update
    norm = np.linalg.norm(np.concatenate([change(made).ravel(), made["head"]]))
    assert norm == pytest.approx(0.7 / 3.0, rel=1e-5)


def test_large_factors_that_cancel_do_not_slip_under_the_clip() -> None:
    b = np.array([[1e9, -1e9]], np.float32)
    a = np.array([[1.0, 2.0], [1.0 + 2.0**-23, 2.0]], np.float32)
    true = np.linalg.norm(b.astype(np.float64) @ a.astype(np.float64))
    assert product_length({"w": Stack(b, a, 1.0)}) >= true > 100


def test_frozen_factors_are_merged_in_coordinates_of_the_products_own_norm() -> None:
    found, shape = pairs(2)
    pair, start = shape.pairs[0], shape.start
    bare = []
    for one in found:
        kept = {n: t for n, t in tensors(one).items() if n != pair.a}
        bare.append(Arrival(one.name, TaskVector.of(kept), 1, "", (pair,), start))
    frozen = Shape("frozen-a", bare[0].contribution.layout, (pair,), start)
    assert frozen.merged().shapes == ((6,), (4, 3))
    mechanism = Mechanism(100.0, 0.0, 2.0)
    args = (recipe("fedavg()"), frozen, bare, mechanism, silent)
    made = merge_private(*args, key=Key("r", 1)).merged.update
    mean = 0.25 * sum(tensors(one)[pair.b] for one in bare)
    np.testing.assert_allclose(made["m.lora_B.weight"], mean, rtol=1e-4, atol=1e-6)
    b = seeds.normal(3, 0, 12).reshape(4, 3)
    whole = np.linalg.norm(b @ start[pair.a])
    assert np.linalg.norm(b @ basis(start[pair.a])) == pytest.approx(whole, rel=1e-6)
    # noise in these coordinates is isotropic in the products that they stand for
    loud = Mechanism(1.0, 1.0, 1.0)
    args = (recipe("fedavg()"), frozen, [], loud, Secret(bytes(32)).normals)
    noise = merge_private(*args, key=Key("r", 1)).merged.update["m.lora_B.weight"]
    turned = noise.astype(np.float64) @ basis(start[pair.a])
    drawn = Secret(bytes(32)).normals("sum", 1, 12).reshape(4, 3)
    np.testing.assert_allclose(turned, drawn, atol=1e-5)


def test_values_that_are_not_finite_count_for_nothing_and_end_no_round() -> None:
    found, shape = pairs(3)
    bad = tensors(found[1])
    bad["head"] = np.full(6, np.nan, np.float32)
    spoilt = Arrival("c1", TaskVector.of(bad), 1, "", found[1].pairs, found[1].start)
    mechanism = Mechanism(1.0, 0.0, 2.0)
    for text in ("fedavg()", "ties(density=0.5)"):

        def merged(held: list[Arrival], text: str = text) -> Private:
            given = (recipe(text), shape, held, mechanism, silent)
            return merge_private(*given, key=Key("r", 1), rank_down=4)

        with_it = merged([found[0], spoilt, found[2]])
        without = merged([found[0], found[2]])
        assert with_it.dropped == ("c1",)
        for name, value in with_it.merged.update.items():
            np.testing.assert_array_equal(value, without.merged.update[name])


def test_ties_elects_and_divides_what_is_noisy_already() -> None:
    members = [member("a", [4, -1, 0, 0, 2, 0]), member("b", [-1, -1, 0, 0, 2, 0])]
    layout = members[0].contribution.layout
    made = [clipped(one, length(one.contribution), 100.0) for one in members]
    chosen = recipe("ties(density=1.0)")
    counted = Noisy(chosen, layout, made, Mechanism(100.0, 0.0, 8.0, 0.5), silent)
    whole = np.concatenate([counted.block(span).values for span in layout.spans])
    np.testing.assert_allclose(whole, [4, -1, 0, 0, 2, 0])
    fixed = Noisy(chosen, layout, made, Mechanism(100.0, 0.0, 8.0), silent)
    whole = np.concatenate([fixed.block(span).values for span in layout.spans])
    np.testing.assert_allclose(whole, [0.5, -0.25, 0, 0, 0.5, 0])


@pytest.mark.parametrize(
    "text", ["median", "regmean", "grouped(fedavg(), ties())", "ties() | lines(2)"]
)
def test_merges_without_a_bound_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"take fedavg\(\) or ties\(\)"):
        sensitivities.check(recipe(text))
    with pytest.raises(ConfigError, match="set privacy"):
        sensitivities.check(recipe("ties(election='count')"))


def test_factors_apart_are_refused() -> None:
    _, shape = pairs(1)
    apart = Shape("factors", shape.layout, shape.pairs, shape.start)
    with pytest.raises(ConfigError, match="frozen-a"):
        apart.merged()

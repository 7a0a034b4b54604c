"""Spherical and norm-based merges against definitions and mergekit."""

import math

import numpy as np
import pytest

from fedelta.aggregators.merges import merge
from fedelta.aggregators.recipes import recipe
from fedelta.protocols.errors import ConfigError, QuorumError

from .cases import Reals, Tolerance, drawn, floats, merged, reals

near: Tolerance = {"rtol": 1e-5, "atol": 1e-6}


def peer(name: str, models: list[Reals], base: Reals | None, **knobs: object) -> Reals:
    import torch
    from mergekit.merge_methods.api import merge_tensors

    inputs = [*models] if base is None else [base, *models]
    made = merge_tensors(
        [torch.from_numpy(floats(one)) for one in inputs],
        name,
        parameters=knobs,
        base_index=None if base is None else 0,
    )
    return reals(made.numpy())


def ours(
    text: str, models: list[Reals], base: Reals | None, weights: list[float]
) -> Reals:
    made = merge(
        [{"w": floats(one)} for one in models],
        text,
        base=None if base is None else {"w": floats(base)},
        weights=weights,
    )
    return reals(made["w"])


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_slerp(t: float) -> None:
    """Shoemake 1985."""
    a, b = drawn(2, 5, 6)
    angle = math.acos(float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)))
    wanted = (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)
    np.testing.assert_allclose(merged(f"slerp({t})", [a, b]), wanted, **near)


def test_an_arc_between_parallels_or_from_zero_is_straight() -> None:
    assert merged("slerp(0.25)", [[4.0, 0.0], [8.0, 0.0]]).tolist() == [5, 0]
    assert merged("slerp(0.25)", [[0.0, 0.0], [8.0, 0.0]]).tolist() == [2, 0]
    assert merged("nuslerp", [[4.0, 0.0], [-4.0, 0.0]], [3, 1]).tolist() == [2, 0]


@pytest.mark.parametrize("text", ["slerp", "nuslerp"])
def test_an_arc_joins_two(text: str) -> None:
    with pytest.raises(QuorumError, match="joins two"):
        merged(text, drawn(3, 4))


def test_multislerp_of_one_and_of_opposites() -> None:
    assert merged("multislerp", [[3.0, 4.0]]) == pytest.approx([3, 4])
    assert merged("multislerp", [[3.0], [-1.0]], [1, 1]) == pytest.approx([1.0])


def test_karcher_mean_balances_the_pulls() -> None:
    """At the mean of Karcher 1977 the logarithms of all directions cancel."""
    vectors, weights = drawn(4, 7), [1, 2, 3, 2]
    made = merged("karcher(steps=200, tolerance=1e-10)", vectors, weights)
    sizes = [float(np.linalg.norm(x)) for x in vectors]
    assert np.linalg.norm(made) == pytest.approx(np.average(sizes, weights=weights))
    mean = made / np.linalg.norm(made)
    pull = np.zeros(7)
    for weight, x, size in zip(weights, vectors, sizes, strict=True):
        cosine = float(x @ mean) / size
        angle = math.acos(cosine)
        pull += weight * angle / math.sin(angle) * (x / size - cosine * mean)
    assert np.linalg.norm(pull) < 1e-5


@pytest.mark.parametrize("count", [1, 2, 5])
def test_model_stock(count: int) -> None:
    """Jang et al. 2024, equation 8."""
    vectors = [one + 0.7 for one in drawn(count, 8, 4)]
    cosines = [
        float((x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y))
        for i, x in enumerate(vectors)
        for y in vectors[i + 1 :]
    ]
    c = float(np.mean(cosines)) if cosines else 1.0
    t = count * c / (1 + (count - 1) * c)
    wanted = t * np.mean(vectors, axis=0)
    np.testing.assert_allclose(merged("model_stock", vectors), wanted, **near)


def test_model_stock_of_what_cancels_is_the_base() -> None:
    assert merged("model_stock", [[1.0, 0.0], [-1.0, 0.0]]).tolist() == [0, 0]
    assert merged("model_stock", [[0.0], [0.0]]).tolist() == [0]


def test_metagpt() -> None:
    """Zhou et al. 2024, equation 12."""
    vectors = drawn(3, 10)
    squares = [float(x @ x) for x in vectors]
    wanted = sum(s / sum(squares) * x for s, x in zip(squares, vectors, strict=True))
    np.testing.assert_allclose(merged("metagpt", vectors), wanted, **near)
    assert merged("metagpt", [[0.0]]).tolist() == [0]


@pytest.mark.peer("torch", "mergekit")
@pytest.mark.parametrize("against", [False, True])
def test_mergekit_on_spheres(*, against: bool) -> None:
    base, *models = drawn(4, 12, 9, what="peer")
    zero = base if against else None
    pair = [2.0, 5.0]
    cases = [
        ("multislerp", "multislerp", models, [1.0, 2.0, 3.0]),
        ("nuslerp", "nuslerp", models[:2], pair),
    ]
    for name, text, given, weights in cases:
        theirs = peer(name, given, zero, weight=weights)
        np.testing.assert_allclose(ours(text, given, zero, weights), theirs, **near)
    for scope, rowwise in (("rows", False), ("columns", True)):
        theirs = peer(
            "nuslerp",
            models[:2],
            zero,
            weight=pair,
            nuslerp_flatten=False,
            nuslerp_row_wise=rowwise,
        )
        made = ours(f"nuslerp(scope={scope!r})", models[:2], zero, pair)
        np.testing.assert_allclose(made, theirs, **near)


@pytest.mark.peer("torch", "mergekit")
def test_mergekits_slerp_and_karcher_and_stock() -> None:
    base, *models = drawn(4, 12, 9, what="peer")
    theirs = peer("slerp", models[:1], base, t=0.3)
    np.testing.assert_allclose(
        ours("slerp(0.3)", [base, models[0]], None, [1, 1]), theirs, **near
    )
    theirs = peer("karcher", models, None)
    np.testing.assert_allclose(
        ours("karcher", models, None, [1, 1, 1]), theirs, rtol=1e-3, atol=1e-4
    )
    theirs = peer("model_stock", models, base)
    np.testing.assert_allclose(
        ours("model_stock", models, base, [1] * 3), theirs, **near
    )


@pytest.mark.parametrize(
    "text",
    ["slerp(scope='world')", "karcher(tolerance=0)", "model_stock(scope='rows')"],
)
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        recipe(text)

"""Low-rank arithmetic: folding, stacking, bringing down to a rank, momentum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedelta.aggregators import factors
from fedelta.aggregators.outer import optimizer
from fedelta.protocols import seeds
from fedelta.protocols.errors import ConfigError, PayloadError
from fedelta.protocols.vectors import Floats


def draw(purpose: str, *shape: int) -> factors.Reals:
    size = int(np.prod(shape))
    return seeds.normal(seeds.key(purpose), 0, size).reshape(shape)


def pair(purpose: str, rank: int = 3) -> dict[str, Floats]:
    return {
        "q.lora_B.weight": draw(f"{purpose} b", 20, rank).astype(np.float32),
        "q.lora_A.weight": draw(f"{purpose} a", rank, 30).astype(np.float32),
        "head": draw(f"{purpose} h", 4).astype(np.float32),
    }


def change(update: dict[str, Floats]) -> factors.Reals:
    b, a = update["q.lora_B.weight"], update["q.lora_A.weight"]
    whole: factors.Reals = b.astype(np.float64) @ a.astype(np.float64)
    return whole


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 5), rank=st.integers(1, 25), each=st.integers(1, 8))
def test_stacks_are_brought_down_as_the_dense_sum_would_be(
    count: int, rank: int, each: int
) -> None:
    bs = [draw(f"b{i}", 20, each) for i in range(count)]
    as_ = [draw(f"a{i}", each, 24) for i in range(count)]
    whole = sum((b @ a for b, a in zip(bs, as_, strict=True)), np.zeros((20, 24)))
    made = factors.stacked(bs, as_, rank)
    values = np.linalg.svd(whole, compute_uv=False)
    assert made.b.shape == (20, min(rank, 20))
    assert made.cut == pytest.approx(float(np.linalg.norm(values[rank:])), abs=1e-6)
    assert made.norm == pytest.approx(float(np.linalg.norm(values)))
    assert isinstance(made.rest, tuple)
    back = made.b.astype(float) @ made.a + made.rest[0].astype(float) @ made.rest[1]
    np.testing.assert_allclose(back, whole, atol=1e-5 * float(values[0]))


def test_a_projection_of_a_large_matrix_is_near_the_best() -> None:
    whole = draw("u", 400, 30) @ draw("v", 30, 300) + 0.1 * draw("n", 400, 300)
    made = factors.projected(whole, 30, seed=5)
    values = np.linalg.svd(whole, compute_uv=False)
    assert made.cut <= 1.01 * float(np.linalg.norm(values[30:]))
    again = factors.projected(whole, 30, seed=5)
    assert np.array_equal(made.b, again.b)
    assert isinstance(made.rest, np.ndarray)
    back = made.b.astype(float) @ made.a + made.rest
    np.testing.assert_allclose(back, whole, atol=1e-4)


def test_all_zero_matrices_stay_zero() -> None:
    zero = np.zeros((6, 5))
    assert not factors.projected(zero, 3, 0).b.any()
    made = factors.stacked([zero[:, :2]], [zero[:2]], 3)
    assert made.b.shape == (6, 3)
    assert not made.b.any()
    assert (made.cut, made.norm) == (0.0, 0.0)


def test_fold_adds_to_the_weights_or_to_none() -> None:
    weights = {
        "q.weight": np.ones((20, 30), np.float32),
        "head": np.zeros(4, np.float32),
    }
    update = pair("x")
    factors.fold(weights, update)
    np.testing.assert_allclose(weights["q.weight"], 1 + change(update), atol=1e-5)
    before = weights["head"].copy()
    for bad in (
        {"head": update["head"], "k.weight": update["head"]},
        {"head": update["head"][:2]},
        {"head": update["head"], "q.lora_B.weight": update["q.lora_B.weight"]},
        {"head": update["head"], "q.lora_A.weight": update["q.lora_A.weight"]},
    ):
        with pytest.raises(PayloadError):
            factors.fold(weights, bad)
        assert np.array_equal(weights["head"], before)


def test_recompressed_updates_say_their_error() -> None:
    updates = [pair("x"), pair("y")]
    exact, error = factors.recompress(updates, 6)
    np.testing.assert_allclose(change(exact), sum(map(change, updates)), atol=1e-5)
    np.testing.assert_allclose(
        exact["head"], updates[0]["head"] + updates[1]["head"], rtol=1e-6
    )
    assert error < 1e-6
    rough, error = factors.recompress(updates, 2)
    wanted = np.asarray(sum(map(change, updates)))
    off = np.linalg.norm(change(rough) - wanted) / np.linalg.norm(wanted)
    assert error == pytest.approx(float(off), rel=1e-3)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_acts_on_products_and_loses_nothing(*, nesterov: bool) -> None:
    made = optimizer(f"momentum(0.5, rate=0.8, nesterov={nesterov})")
    state: dict[str, Floats] = {}
    sent_total = np.zeros((20, 30))
    speed, wanted = np.zeros((20, 30)), np.zeros((20, 30))
    for turn in range(4):
        update = pair(f"turn {turn}")
        speed = 0.5 * speed + change(update)
        step = 0.5 * speed + change(update) if nesterov else speed
        wanted += 0.8 * step
        sent, state = made.step(update, state)
        assert sent["q.lora_B.weight"].shape == (20, 3)
        sent_total += change(sent)
    rest = state["q|rest.b"].astype(float) @ state["q|rest.a"]
    np.testing.assert_allclose(sent_total + rest, wanted, atol=1e-4)


def test_momentum_is_asked_for_rightly() -> None:
    for text in ("momentum(1.0)", "momentum(0.9, rate=0)", "momentun(0.9)"):
        with pytest.raises(ConfigError):
            optimizer(text)


@pytest.mark.parametrize("spread", [0.0, 1e-7, 1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("shape", [(300, 40), (40, 40), (30, 40), (5, 0)])
def test_columns_are_made_orthogonal_however_alike_they_are(
    shape: tuple[int, int], spread: float
) -> None:
    rows, count = shape
    drawn = seeds.normal(3, 0, rows * count).reshape(shape)
    columns = drawn[:, :1] + spread * drawn if count else drawn
    base, turn, core = factors.orthogonal(columns)
    left = base @ turn
    np.testing.assert_allclose(left.T @ left, np.eye(left.shape[1]), atol=1e-7)
    size = max(1.0, float(np.abs(columns).max(initial=0)))
    np.testing.assert_allclose(left @ core, columns, atol=1e-9 * size)

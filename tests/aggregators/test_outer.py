"""Server optimisers and trajectory averages against their papers, dense and paired."""

from collections.abc import Callable

import numpy as np
import pytest

from fedelta.aggregators.factors import fold
from fedelta.aggregators.outer import describe, optimizer
from fedelta.aggregators.steps import State
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.vectors import Floats

from .cases import Reals, drawn, floats, reals

ROUNDS = 6
TEXTS = [one["name"] for one in describe()]


def run(text: str) -> list[Reals]:
    """What each of six rounds sends for a plain tensor."""
    made, sent = optimizer(text), []
    state: State = {}
    for value in drawn(ROUNDS, 7):
        step, state = made.step({"w": floats(value)}, state)
        sent.append(reals(step["w"]))
    return sent


def adaptive(second: Callable[[Reals, Reals], Reals], beta: float) -> list[Reals]:
    """Reddi et al. 2021, algorithm 2, with eta 0.1 and tau 0.01."""
    m, v, sent = np.zeros(7), np.full(7, 1e-4), []
    for u in drawn(ROUNDS, 7):
        m = beta * m + (1 - beta) * u
        v = second(v, u * u)
        sent.append(0.1 * m / (np.sqrt(v) + 0.01))
    return sent


@pytest.mark.parametrize(
    ("text", "beta", "second"),
    [
        ("fedadam(0.1, 0.8, 0.9, 0.01)", 0.8, lambda v, s: 0.9 * v + 0.1 * s),
        (
            "fedyogi(0.1, 0.8, 0.9, 0.01)",
            0.8,
            lambda v, s: v - 0.1 * s * np.sign(v - s),
        ),
        ("fedadagrad(0.1, 0.0, 0.01)", 0.0, lambda v, s: v + s),
    ],
)
def test_adaptive(
    text: str, beta: float, second: Callable[[Reals, Reals], Reals]
) -> None:
    np.testing.assert_allclose(run(text), adaptive(second, beta), rtol=1e-4, atol=1e-6)


def test_momentum_by_its_names() -> None:
    speed, plain, ahead = np.zeros(7), [], []
    for u in drawn(ROUNDS, 7):
        speed = 0.9 * speed + u
        plain.append(speed)
        ahead.append(0.7 * (u + 0.9 * speed))
    np.testing.assert_allclose(run("fedavgm"), plain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run("nesterov"), ahead, rtol=1e-5, atol=1e-6)


def test_lookahead() -> None:
    """Zhang et al. 2019: slow weights go alpha of the way every k steps."""
    fast = slow = np.zeros(7)
    sent = []
    for place, u in enumerate(drawn(ROUNDS, 7)):
        before, fast = fast, fast + u
        if (place + 1) % 3 == 0:
            slow = slow + 0.4 * (fast - slow)
            fast = slow
        sent.append(fast - before)
    np.testing.assert_allclose(run("lookahead(3, 0.4)"), sent, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("text", ["ema(0.8)", "swa(start=3)", "swa"])
def test_averages_of_the_models(text: str) -> None:
    models = np.cumsum(drawn(ROUNDS, 7), axis=0)
    average = models[0]
    for model in models[1:]:
        average = 0.8 * average + 0.2 * model
    wanted = {
        "ema(0.8)": average,
        "swa(start=3)": models[2:].mean(0),
        "swa": models.mean(0),
    }[text]
    made = optimizer(text)
    state: State = {}
    weights = {"w": np.zeros(7, np.float32)}
    for value in drawn(ROUNDS, 7):
        step, state = made.step({"w": floats(value)}, state)
        fold(weights, step)
    np.testing.assert_allclose(weights["w"], models[-1], rtol=1e-5, atol=1e-6)
    assert made.average is not None
    fold(weights, made.average(state))
    np.testing.assert_allclose(weights["w"], wanted, rtol=1e-5, atol=1e-6)


def paired(values: list[Reals]) -> list[dict[str, Floats]]:
    eye = np.eye(4, dtype=np.float32)
    return [{"m.lora_B.weight": floats(one), "m.lora_A.weight": eye} for one in values]


@pytest.mark.parametrize("text", TEXTS)
def test_a_pair_moves_as_its_product_does(text: str) -> None:
    values = drawn(ROUNDS, 5, 4)
    made = optimizer(text)
    low, whole = {"m.weight": np.zeros((5, 4), np.float32)}, np.zeros((5, 4))
    state: State = {}
    other: State = {}
    for pair, value in zip(paired(values), values, strict=True):
        step, state = made.step(pair, state)
        fold(low, step)
        dense, other = made.step({"m.weight": floats(value)}, other)
        whole = whole + dense["m.weight"]
    np.testing.assert_allclose(low["m.weight"], whole, rtol=1e-3, atol=1e-4)
    if made.average is not None:
        fold(low, made.average(state))
        whole = whole + made.average(other)["m.weight"]
        np.testing.assert_allclose(low["m.weight"], whole, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("text", TEXTS)
def test_what_was_cut_off_behind_it_is_sent_by_the_next_step(text: str) -> None:
    """By the names under which `Optimizer.rest` says that it looks for it."""
    made, (first, second, lost) = optimizer(text), drawn(3, 5, 4)
    pairs = paired([first, second])
    _, state = made.step(pairs[0], {})
    owing = dict(state)
    if made.rest == "stack":
        eye = np.eye(4, dtype=np.float32)
        for slot, more, axis in (("b", floats(lost), 1), ("a", eye, 0)):
            name = f"m|rest.{slot}"
            held = [owing[name]] if name in owing else []
            owing[name] = np.concatenate([*held, more], axis)
    elif made.rest == "dense":
        owing["m|rest"] = owing["m|rest"] + floats(lost)
    sums = []
    for one in (state, owing):
        weights = {"m.weight": np.zeros((5, 4), np.float32)}
        fold(weights, made.step(pairs[1], one)[0])
        sums.append(weights["m.weight"])
    wanted = lost if made.rest else np.zeros((5, 4))
    np.testing.assert_allclose(sums[1] - sums[0], wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("text", TEXTS)
def test_a_b_without_its_a_moves_as_a_tensor_does(text: str) -> None:
    made = optimizer(text)
    states: list[State] = [{}, {}]
    for value in drawn(ROUNDS, 5, 4):
        steps = []
        for place, name in enumerate(("m.lora_B.weight", "w")):
            step, states[place] = made.step({name: floats(value)}, states[place])
            steps.append(step[name])
        np.testing.assert_array_equal(steps[0], steps[1])


@pytest.mark.parametrize("text", TEXTS)
def test_texts_read_back_and_states_are_arrays(text: str) -> None:
    made = optimizer(text)
    assert optimizer(made.text).text == made.text
    _, state = made.step({"w": floats([1])}, {})
    assert all(isinstance(one, np.ndarray) for one in state.values())


@pytest.mark.parametrize(
    "text",
    ["fedadam(rate=0)", "fedyogi(beta=1.0)", "ema(1.0)", "swa(0)", "lookahead(0)"],
)
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        optimizer(text)

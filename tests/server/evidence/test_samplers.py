"""Who says what is tried next, and the front of what was: without any training."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from fedelta.aggregators.recipes import recipe
from fedelta.protocols.errors import ConfigError
from fedelta.server.evidence import pages, variables
from fedelta.server.evidence.fronts import front
from fedelta.server.evidence.samplers import KINDS, Sampler, sampler
from fedelta.server.evidence.searches import Trial


def spent(made: Sampler, count: int) -> float:
    """The least value of a bowl that a sampler finds."""
    found = []
    for _ in range(count):
        chosen = made.ask()
        assert chosen is not None
        gap = float(chosen["x"]) - 0.7, float(chosen["y"]) - 0.2
        found.append(gap[0] ** 2 + gap[1] ** 2 + (chosen["kind"] != "b"))
        made.tell(found[-1])
    return min(found)


@pytest.mark.peer("optuna", "cma")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "grid"])
def test_samplers_find_a_bowls_floor(kind: str) -> None:
    varied = variables.read(["x=0.0..1.0", "y=0.0..1.0", "kind=a; b; c"])
    found = spent(sampler(kind, varied, 5), 60)
    assert found < (0.02 if kind == "random" else 0.01)
    assert found == spent(sampler(kind, varied, 5), 60), "the same twice"


def test_random_draws_differ_in_what_their_settings_use() -> None:
    varied = ["merge.recipe=fedavg(); ties(density={d})", "d=0.1..0.9"]
    made = sampler("random", variables.read(varied), 0)
    drawn = [made.ask() for _ in range(8)]
    found = [variables.settings(one)["merge.recipe"] for one in drawn if one]
    assert found.count("fedavg()") == 1
    assert len(set(found)) == 8


def test_random_draws_ask_for_nothing_twice_and_end() -> None:
    made = sampler("random", variables.read(["x=a; b; c", "y=1..2"]), 0)
    found = list(iter(made.ask, None))
    assert len(found) == 6
    assert len({(one["x"], one["y"]) for one in found}) == 6


def cheap(made: Sampler, count: int, goals: int) -> int:
    """How many trials cost less than they could, where that costs quality."""
    found = 0
    for _ in range(count):
        chosen = made.ask()
        assert chosen is not None
        x, y = float(chosen["x"]), float(chosen["y"])
        made.tell(*((x - 1) ** 2 + y**2, x**2 + y**2)[: 1 + goals])
        found += x < 0.5
    return found


@pytest.mark.peer("optuna")
@pytest.mark.parametrize("seed", [0, 3])
def test_several_goals_are_learned_from(seed: int) -> None:
    varied = variables.read(["x=0.0..1.0", "y=0.0..1.0"])
    one = cheap(sampler("optuna", varied, seed), 40, 0)
    both = cheap(sampler("optuna", varied, seed, ("bytes",)), 40, 1)
    assert both > 1.5 * one
    with pytest.raises(ConfigError, match="optuna alone"):
        sampler("cma", varied, seed, ("bytes",))


@pytest.mark.peer("optuna", "cma")
@pytest.mark.parametrize("kind", ["cma", "optuna", "random"])
def test_coefficients_by_layer_are_varied_as_numbers(kind: str) -> None:
    over = (
        "merge.recipe=fedavg() | lines({first}, {more})",
        "first=0.0..2.0",
        "more=-1.0..1.0",
    )
    made, found = sampler(kind, variables.read(over), 0), set[str]()
    for _ in range(4):
        chosen = made.ask()
        assert chosen is not None
        (text,) = map(str, variables.settings(chosen).values())
        found.add(str(recipe(text)))
        made.tell(float(str(chosen["first"])))
    assert len(found) == 4


def test_the_front_is_by_all_goals() -> None:
    def one(value: float, worst: float, cost: int, epsilon: float | None) -> Trial:
        return Trial({"a": value}, value, worst, cost, epsilon=epsilon)

    private, cheap = one(0.5, 0.4, 20, 1.0), one(0.5, 0.4, 10, None)
    fair, best = one(0.6, 0.5, 30, None), one(0.7, 0.4, 30, None)
    told, beaten = one(0.55, 0.4, 30, 1.5), one(0.5, 0.3, 20, 2.0)
    again = one(0.5, 0.4, 20, 1.0)
    found = front([private, cheap, fair, best, told, beaten, again], "accuracy")
    assert found == [cheap, private, best, fair, told]


@pytest.mark.parametrize("costs", [(10, 20, 30), (10, 10, 10)])
def test_the_page_draws_the_front(tmp_path: Path, costs: Sequence[int]) -> None:
    done = [
        Trial({"merge.recipe": f"ties({at})"}, 0.8 + at, 0.7 - at, cost, epsilon=1 + at)
        for at, cost in zip((0.0, 0.01, 0.02), costs, strict=True)
    ]
    done.append(Trial({"merge.recipe": "magic()"}, None, said="no such recipe"))
    path = pages.page(tmp_path, done, front(done, "accuracy"), "accuracy")
    assert path is not None
    text = path.read_text("utf-8")
    assert ("accuracy by bytes" in text) == (len(set(costs)) > 1)
    for axis in ("worst client", "epsilon"):
        assert f"accuracy by {axis}" in text
    assert "magic() (no such recipe)" in text

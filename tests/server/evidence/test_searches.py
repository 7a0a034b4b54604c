"""Searches: training is paid once, what was done is kept, and the result runs."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fedelta.aggregators.recipes import recipe
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config
from fedelta.server.checks import check
from fedelta.server.cli import main
from fedelta.server.evidence import pages, variables
from fedelta.server.evidence.diagnoses import diagnose
from fedelta.server.evidence.explorations import Asked, explore
from fedelta.server.evidence.fronts import front, written
from fedelta.server.evidence.samplers import KINDS, Sampler, sampler
from fedelta.server.evidence.searches import Search, Trial
from fedelta.server.runs import load
from fedelta.server.simulations import simulate
from tests import tiny

OVER = (
    "merge.recipe=fedavg(); ties(density={density}, gain={gain})",
    "density=0.1..0.9",
    "gain=0.3..2.0",
)


def config(folder: Path) -> Config:
    return tiny.config(
        folder, data={"validation": 0.2}, run={"rounds": 1}, eval={"metric": "loss"}
    )


def searched(given: Config, out: Path, over: Sequence[str], budget: int) -> Search:
    search = Search(given, out, "loss")
    try:
        search.run(sampler("random", variables.read(over), 3), budget)
    finally:
        search.close()
    return search


def test_merges_are_searched_on_one_run(tmp_path: Path) -> None:
    given, out = config(tmp_path), tmp_path / "search"
    search = searched(given, out, OVER, 6)
    assert len(search.done) == 6
    assert all(one.value is not None for one in search.done)
    assert len({one.value for one in search.done}) > 3
    assert len(list((out / "runs").iterdir())) == 1, "training is paid once"
    path = written(search, sorted(search.done, key=search.worth))
    best = load(path)
    lowest = min(search.done, key=search.worth)
    assert best.merge.recipe == lowest.settings["merge.recipe"]
    assert f"{lowest.value:.6g}" in path.read_text()
    again = replace(best, run=replace(best.run, out=str(tmp_path / "again")))
    assert simulate(again, workers=0)["recipe"].startswith(best.merge.recipe[:4])


def test_a_finished_run_is_searched_without_training(tmp_path: Path) -> None:
    given, out = config(tmp_path), tmp_path / "search"
    ran, straight = Path(given.run.out), tmp_path / "straight"
    simulate(given, workers=0)
    before = sorted(path.stat().st_mtime_ns for path in ran.rglob("*"))
    words = ["search", "--run", str(ran), "--out", str(out), "--json"]
    words += ["--sampler", "grid", "--budget", "2"]
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--over", "merge.recipe=fedavg(); median()"])
    assert before == sorted(path.stat().st_mtime_ns for path in ran.rglob("*"))
    over = ("merge.recipe=fedavg(); median()",)
    explore(given, Asked(over, 2, "grid", "loss"), straight, 0, as_json=True)
    lines = (out / "trials.jsonl").read_text()
    assert lines == (straight / "trials.jsonl").read_text()
    assert load(out / "best.toml").run.out == str(out / "best")
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--preset", "icd10"])


def test_a_search_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    given, out = config(tmp_path), tmp_path / "search"
    first = searched(given, out, OVER, 2)
    more = searched(given, out, OVER, 4)
    assert more.done[:2] == first.done
    lines = (out / "trials.jsonl").read_text().splitlines()
    assert [Trial(**json.loads(one)) for one in lines] == more.done
    other = tmp_path / "other"
    straight = searched(given, other, OVER, 4)
    assert straight.done == more.done
    with pytest.raises(ConfigError, match="another search"):
        searched(given, out, ("merge.recipe=median(); fedavg()",), 4)


def test_trials_are_judged_side_by_side_as_one_by_one(tmp_path: Path) -> None:
    given, out = config(tmp_path), tmp_path / "search"
    over = ("merge.recipe=fedavg(); median(); nonsense(); ties(0.3)",)
    alone = Search(given, out, "loss")
    alone.run(sampler("grid", variables.read(over), 0), 4)
    alone.close()
    lines = (out / "trials.jsonl").read_text()
    (out / "trials.jsonl").unlink()
    explore(given, Asked(over, 4, "grid", "loss"), out, 2, as_json=True)
    assert (out / "trials.jsonl").read_text() == lines, "the same, in the same order"
    assert [one.value is None for one in alone.done] == [False, False, True, False]


def test_private_runs_are_judged_as_they_ended(tmp_path: Path) -> None:
    private = {"mode": "client", "clip": 0.5, "noise_multiplier": 1.0}
    given = tiny.config(
        tmp_path,
        data={"validation": 0.2},
        run={"rounds": 1},
        merge={"weights": "uniform"},
        eval={"metric": "loss", "local": False},
        privacy=private,
    )
    search = Search(given, tmp_path / "search", "loss")
    over = ("privacy.noise_multiplier=1.0; 8.0", "merge.recipe=fedavg(); median()")
    found = search.run(sampler("grid", variables.read(over), 0), 4)
    search.close()
    good = [one for one in found if one.value is not None]
    assert len(good) == 2, "a median is not private"
    spent = {one.settings["privacy.noise_multiplier"]: one.epsilon for one in good}
    assert spent[1.0] is not None
    assert spent[8.0] is not None
    assert spent[8.0] < spent[1.0]
    runs = sorted((tmp_path / "search" / "runs").iterdir())
    ends = [json.loads((one / "summary.json").read_text()) for one in runs]
    assert {one["privacy"]["epsilon"] for one in ends} == set(spent.values())
    with pytest.raises(ConfigError, match="paid for once"):
        diagnose(runs[0])


def test_settings_of_training_are_trained_once_each(tmp_path: Path) -> None:
    given, out = config(tmp_path), tmp_path / "search"
    over = ("wire.up=fp16; sign256", "merge.recipe=fedavg(); nonsense()")
    search = Search(given, out, "loss")
    found = search.run(sampler("grid", variables.read(over), 0), 9)
    search.close()
    assert len(found) == 4
    assert len(list((out / "runs").iterdir())) == 2
    bad = [one for one in found if "nonsense" in str(one.settings["merge.recipe"])]
    assert [one.value for one in bad] == [None, None]
    assert all("nonsense" in one.said for one in bad)
    best = front(search.done, "loss")
    assert best[0].bytes == min(one.bytes for one in found if one.value is not None)


def test_few_rounds_come_first(tmp_path: Path) -> None:
    given = config(tmp_path)
    given = replace(given, run=replace(given.run, rounds=4))
    search = Search(given, tmp_path / "search", "loss")
    rates: list[dict[str, variables.Value]] = [
        {"train.learning_rate": one} for one in (1e-5, 3e-2)
    ]
    (best,) = search.halved(rates)
    search.close()
    assert [one.rounds for one in search.done] == [1, 1, 2, 4]
    assert best.settings["train.learning_rate"] == 3e-2


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


def test_random_draws_ask_for_nothing_twice_and_end() -> None:
    made = sampler("random", variables.read(["x=a; b; c", "y=1..2"]), 0)
    found = list(iter(made.ask, None))
    assert len(found) == 6
    assert len({(one["x"], one["y"]) for one in found}) == 6


def test_what_cannot_be_searched_is_said(tmp_path: Path) -> None:
    for text in ("density", "x=3..1", "x=0..1 log", "=a"):
        with pytest.raises(ConfigError, match="--over"):
            variables.Variable.read(text)
    with pytest.raises(ConfigError, match="nothing is said"):
        variables.settings({"merge.recipe": "ties(density={d})"})
    with pytest.raises(ConfigError, match="no such key"):
        variables.applied(config(tmp_path), {"train.stepz": 3})
    with pytest.raises(ConfigError, match="one of random"):
        sampler("magic", [], 0)


def test_the_command_writes_a_file_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from .test_plans import toml

    path = tmp_path / "run.toml"
    path.write_text(toml(config(tmp_path)))
    out = tmp_path / "run-search"
    words = ["search", str(path), "--workers", "0", "--json"]
    words += ["--budget", "3", "--over", "merge.recipe=fedavg(); ties(); model_stock()"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--sampler", "grid"])
    assert not ended.value.code
    told = json.loads(capsys.readouterr().out)
    assert load(Path(told["config"])).merge.recipe
    assert "<svg" in (out / "search.html").read_text()
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--out", str(tmp_path)])
    assert "holds no search" in capsys.readouterr().err


def test_what_is_searched_where_nothing_is_said_can_be_used(tmp_path: Path) -> None:
    usual = {one.name: one for one in variables.read(())}
    for text in usual[variables.MERGE].choices:
        chosen = {name: one.at(0.5) for name, one in usual.items()}
        given = variables.settings(chosen | {variables.MERGE: text})
        check(variables.applied(config(tmp_path), given))


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
    found = front([private, cheap, fair, best, told, beaten], "accuracy")
    assert found == [cheap, private, best, fair, told]


@pytest.mark.parametrize("costs", [(10, 20, 30), (10, 10, 10)])
def test_the_page_draws_the_front(tmp_path: Path, costs: Sequence[int]) -> None:
    done = [
        Trial({"merge.recipe": f"ties({at})"}, 0.8 + at, 0.7 - at, cost)
        for at, cost in zip((0.0, 0.01, 0.02), costs, strict=True)
    ]
    done.append(Trial({"merge.recipe": "magic()"}, None, said="no such recipe"))
    path = pages.page(tmp_path, done, front(done, "accuracy"), "accuracy")
    assert path is not None
    text = path.read_text("utf-8")
    axis = "worst client" if len(set(costs)) == 1 else "bytes"
    assert f"accuracy by {axis}" in text
    assert "magic() (no such recipe)" in text

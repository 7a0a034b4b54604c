"""Searches: training is paid once, what was done is kept, and the result runs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config
from fedelta.server.checks import check
from fedelta.server.cli import app, main
from fedelta.server.evidence import sheets, tomls, variables
from fedelta.server.evidence.diagnoses import diagnose
from fedelta.server.evidence.explorations import Asked, explore
from fedelta.server.evidence.fronts import front, written
from fedelta.server.evidence.samplers import sampler
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


@pytest.mark.peer("dp_accounting")
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


@pytest.mark.peer("optuna", "cma")
@pytest.mark.parametrize("kind", ["optuna", "cma"])
def test_what_learns_from_trials_goes_on_where_it_was_stopped(
    tmp_path: Path, kind: str
) -> None:
    """By the command, whose sampler is told of the first trials again."""
    ran, out = tmp_path / "run.toml", tmp_path / "search"
    ran.write_text(tomls.text(config(tmp_path)))
    words = ["search", str(ran), "--out", str(out), "--workers", "0", "--budget", "9"]
    words += [word for one in OVER for word in ("--over", one)]
    words += ["--also", "worst", "--also", "bytes"] if kind == "optuna" else []
    words += ["--sampler", kind]
    made = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert made.exit_code == 0, made.output
    assert "9/9  " in made.stderr, "progress"
    path = out / "trials.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    assert len({json.dumps(json.loads(one)["settings"]) for one in lines}) > 3
    path.write_text("".join(lines[:7]))
    made = CliRunner().invoke(app, words)
    assert made.exit_code == 0, made.output
    assert path.read_text() == "".join(lines)
    tips = json.loads((out / "front.json").read_text())["front"]
    for place, one in enumerate(tips, 1):
        found = load(out / f"front-{place}.toml")
        assert found.merge.recipe == one["settings"]["merge.recipe"]
    assert len(list(out.glob("front-*.toml"))) == len(tips)


def test_halving_is_asked_for_by_the_command(tmp_path: Path) -> None:
    given = config(tmp_path)
    ran, out = tmp_path / "run.toml", tmp_path / "search"
    ran.write_text(tomls.text(replace(given, run=replace(given.run, rounds=2))))
    words = ["search", str(ran), "--out", str(out), "--workers", "0", "--halving"]
    words += ["--sampler", "grid", "--budget", "2", "--over", "train.steps=1; 6"]
    for _ in range(2):  # the second time nothing is trained anew
        made = CliRunner().invoke(app, words)
        assert made.exit_code == 0, made.output
        lines = (out / "trials.jsonl").read_text().splitlines()
        assert [json.loads(one)["rounds"] for one in lines] == [1, 1, 2]
    assert load(out / "best.toml").run.rounds == 2
    tips = json.loads((out / "front.json").read_text())["front"]
    told = [load(out / f"front-{at}.toml").run.rounds for at in range(1, len(tips) + 1)]
    assert told == [one["rounds"] for one in tips], "as long as it was judged"
    assert min(told) == 1, "fewer bytes"


def test_what_else_counts_is_told_as_less_is_better(tmp_path: Path) -> None:
    search = Search(config(tmp_path), tmp_path, "accuracy")
    search.goals = ("worst", "epsilon", "bytes")
    assert search.costs(Trial({}, 0.8, 0.7, 10, epsilon=2.0)) == [-0.7, 2.0, 10.0]
    assert search.costs(Trial({}, 0.8, 0.7, 10))[1] > 1e6, "no guarantee"
    for epsilon, last in ((2.0, "epsilon"), (None, "rounds")):
        rows = [asdict(Trial({}, 0.8, 0.7, 10, epsilon=epsilon))]
        heads = [one.header for one in sheets.trials(rows, "accuracy").columns]
        assert heads[-1] == last
        assert "worst client" in heads
    for asked, why in (
        (Asked(OVER, 2, "optuna", "loss", goals=("speed",)), "--also speed"),
        (Asked(OVER, 2, "cma", "loss", halving=True), "--halving draws"),
        (Asked(["run.rounds=1; 2"], 2, "grid", "loss", halving=True), "leave it out"),
    ):
        with pytest.raises(ConfigError, match=why):
            explore(config(tmp_path), asked, tmp_path / "out", 0, as_json=True)


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

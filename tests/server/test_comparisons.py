"""Comparisons: pairs are found, differences are theirs, one page says it all."""

import json
from pathlib import Path
from typing import Any

import pytest

from fedelta.protocols.errors import ConfigError
from fedelta.server import comparisons, pairings
from tests.server import folders


def made(folder: Path, *, recipe: str = "fedavg()", seed: int = 0, **more: Any) -> Path:
    """A finished run; its final accuracy rises by `more["over"]`."""
    folder.mkdir(parents=True)
    folders.made(folder)
    config = json.loads((folder / "config.json").read_text())
    config["merge"]["recipe"], config["run"]["seed"] = recipe, seed
    for key, value in more.get("tables", {}).items():
        table, _, name = key.partition(".")
        config[table][name] = value
    (folder / "config.json").write_text(json.dumps(config))
    summary = json.loads((folder / "summary.json").read_text())
    summary |= {"recipe": recipe, "seed": seed, "replay": more.get("replay")}
    summary["metrics"]["final"]["accuracy"] += more.get("over", 0.0)
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_differences_are_taken_within_seeds(tmp_path: Path) -> None:
    runs = [
        made(tmp_path / "a0", seed=0, over=0.0),
        made(tmp_path / "a1", seed=1, over=0.2),
        made(tmp_path / "b0", seed=0, over=0.01, recipe="ties()"),
        made(tmp_path / "b1", seed=1, over=0.23, recipe="ties()"),
    ]
    found = pairings.entries(runs)
    assert pairings.labels(found) == ["fedavg()", "ties()"]
    first, second = pairings.differences(found, "accuracy")
    assert first.gap is None
    assert second.gaps == pytest.approx((0.01, 0.03))
    assert second.gap == pytest.approx(0.02)
    assert second.spread == pytest.approx(0.01 * 2**0.5)


def test_a_terminal_has_the_best_first_and_what_three_pairs_say(tmp_path: Path) -> None:
    gains = {"fedavg()": 0.0, "ties()": 0.01, "dare()": 0.02}
    runs = [
        made(tmp_path / f"{n}{seed}", recipe=name, seed=seed, over=gain * (seed + 1))
        for n, (name, gain) in enumerate(gains.items())
        for seed in range(3)
    ]
    told = comparisons.answer(runs, "accuracy")
    assert [row[0] for row in told.rows] == ["fedavg()", "dare()", "ties()"]
    assert {"95 % between", "p", "p of signs", "pairs"} <= set(told.head)
    lone = comparisons.answer([runs[0], runs[3]], "accuracy")
    assert "p of signs" not in lone.head


def test_other_data_is_no_pair(tmp_path: Path) -> None:
    runs = [
        made(tmp_path / "a"),
        made(tmp_path / "b", recipe="ties()", tables={"data.alpha": 9.0}),
    ]
    second = pairings.differences(pairings.entries(runs), "accuracy")[1]
    assert second.gap is None
    assert second.label == "ties(), alpha=9.0"


def test_what_changes_no_result_keeps_no_pair_apart(tmp_path: Path) -> None:
    first = made(tmp_path / "a", tables={"data.only": []})
    runs = [first, made(tmp_path / "b", recipe="ties()", over=0.1)]
    path = runs[1] / "config.json"
    told = json.loads(path.read_text())
    told["data"] |= {"hand_on": True}
    told["eval"] = told.get("eval", {}) | {"local": False}
    told["data"].pop("only", None)  # as a run's file was before there was such a key
    path.write_text(json.dumps(told))
    second = pairings.differences(pairings.entries(runs), "accuracy")[1]
    assert second.gap == pytest.approx(0.1)
    assert second.label == "ties()"


def test_a_run_brings_its_replays(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    made(run / "replays" / "ties", recipe="ties()", replay={"of": "run"})
    found = pairings.entries([run])
    assert pairings.labels(found) == ["fedavg()", "replay: ties()"]
    assert len(pairings.differences(found, "accuracy")[1].gaps) == 1
    assert len(pairings.entries([run, run, run / "replays" / "ties"])) == 2


def test_two_of_the_same_are_told_apart(tmp_path: Path) -> None:
    runs = [made(tmp_path / "a"), made(tmp_path / "b")]
    assert pairings.labels(pairings.entries(runs)) == ["fedavg() (a)", "fedavg() (b)"]


def test_the_page_says_every_number_and_nothing_of_a_name_runs(tmp_path: Path) -> None:
    runs = [made(tmp_path / "a"), made(tmp_path / "b", recipe="<b>ties", over=0.1)]
    path = comparisons.write(runs)
    assert path == runs[0] / "compare.html"
    text = path.read_text()
    assert "70.7 %" in text
    assert "+10.0 points" in text
    assert text.count("<svg") == 2
    assert "<b>ties" not in text
    assert "<script" not in text
    assert comparisons.write(runs, tmp_path / "page.html", "loss").read_text() != text
    comparisons.write(runs)
    assert path.read_text() == text


def test_one_alone_is_not_compared(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to compare with"):
        pairings.entries([made(tmp_path / "a")])
    with pytest.raises(ConfigError, match="no finished run"):
        pairings.entries([tmp_path])

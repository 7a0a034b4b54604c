"""Replays: the same replies merged again, against recorded models, without training."""

from pathlib import Path
from typing import Any

import pytest

from fedelta.aggregators.recipes import METHODS
from fedelta.protocols.errors import CheckpointError, ConfigError
from fedelta.server import files, records
from fedelta.server.replays import NOTE, replay
from fedelta.server.simulations import simulate
from tests import tiny


def ran(folder: Path, **more: Any) -> tuple[Path, dict[str, Any]]:
    config = tiny.config(folder, **{"eval": {"local": False}} | more)
    return Path(config.run.out), simulate(config, workers=0)


def test_a_run_of_one_round_is_replayed_to_its_own_bytes(tmp_path: Path) -> None:
    folder, summary = ran(tmp_path, run={"rounds": 1})
    same, other = replay(folder, ["fedavg()", "ties(density=0.2)"])
    assert same["model_digest"] == summary["model_digest"]
    assert same["metrics"]["final"] == summary["metrics"]["final"]
    assert other["model_digest"] != summary["model_digest"]


def test_a_round_is_merged_on_the_recorded_model_before_it(tmp_path: Path) -> None:
    sent = {"wire": {"up": "fp32", "down": "fp32"}, "lora": {"rank_down": 32}}
    folder, _ = ran(tmp_path, **sent)  # nothing is cut off: nothing is carried
    (same,) = replay(folder, ["fedavg()"])
    lines = records.read(folder / "record.jsonl")
    told = {n["round"]: n["metrics"] for n in lines if n["kind"] == "evaluation"}
    found = same["metrics"]["rounds"]
    for number in (1, 2):
        assert found[str(number)]["loss"] == pytest.approx(
            told[number]["loss"], rel=1e-5
        )
    (first,) = replay(folder, ["ties()"], rounds=[1])
    (both,) = replay(folder, ["ties()"])
    assert first["metrics"]["rounds"] == {"1": both["metrics"]["rounds"]["1"]}


def test_the_space_can_be_another_one(tmp_path: Path) -> None:
    folder, _ = ran(tmp_path, run={"rounds": 1})
    exact, apart = replay(folder, ["fedavg", "fedavg @ factors"])
    assert exact["model_digest"] != apart["model_digest"]
    again = tmp_path / "again"
    again.mkdir()
    _, trained = ran(again, run={"rounds": 1}, lora={"space": "factors"})
    # another run id only draws other numbers, and a mean draws none
    assert apart["metrics"]["final"] == trained["metrics"]["final"]


def test_a_replay_is_a_folder_like_a_run(tmp_path: Path) -> None:
    folder, summary = ran(tmp_path, run={"rounds": 1})
    (told,) = replay(folder, ["dare(density=0.5)"])
    home = folder / "replays" / "dare-density-0.5"
    assert files.read_json(home / "summary.json") == told
    assert told["replay"]["note"] == NOTE
    assert told["bytes"] == summary["bytes"]
    assert files.read_json(home / "config.json")["merge"]["recipe"] == told["recipe"]
    kinds = {line["kind"] for line in records.read(home / "record.jsonl")}
    assert {"run", "contribution", "round", "evaluation"} <= kinds
    assert files.read_json(folder / "summary.json") == summary
    assert replay(folder, ["dare(density=0.5)"])[0]["metrics"] == told["metrics"]


def test_without_a_test_set_clients_data_judge(tmp_path: Path) -> None:
    folder, summary = ran(
        tmp_path,
        run={"rounds": 1},
        data={"test": 0.0, "validation": 0.25},
        eval={"where": "clients", "local": False},
    )
    (told,) = replay(folder, ["fedavg()"])
    assert told["metrics"]["final"] == pytest.approx(summary["metrics"]["final"])


def test_what_cannot_be_replayed_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run"):
        replay(tmp_path / "nothing", ["fedavg"])
    folder, _ = ran(tmp_path, journal={"keep": "last"})
    with pytest.raises(ConfigError, match="after @ stands a space"):
        replay(folder, ["fedavg @ nowhere"])
    with pytest.raises(ConfigError, match="each of them once"):
        replay(folder, ["fedavg", "fedavg()"])
    with pytest.raises(ConfigError, match="round 1 are not kept"):
        replay(folder, ["fedavg"], rounds=[1])
    assert replay(folder, ["fedavg"])[0]["replay"]["rounds"] == [2]
    path = next((folder / "journal" / "round-0002").glob("*.payload"))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(CheckpointError, match="is not what was sealed"):
        replay(folder, ["fedavg"])
    for path in (folder / "journal" / "round-0002").glob("*.payload"):
        path.unlink()
    with pytest.raises(ConfigError, match="keeps no replies"):
        replay(folder, ["fedavg"])


def test_every_recipe_merges_one_round_at_once(tmp_path: Path) -> None:
    folder, summary = ran(tmp_path, run={"rounds": 1})
    refused: dict[str, str] = {}
    found = replay(folder, list(METHODS), refused=refused)
    names = [one["recipe"] for one in found]
    assert names == [name for name in METHODS if name not in refused]
    assert len(names) > 20
    assert "Fisher" in refused["fisher"] or "fisher" in refused["fisher"]
    folders = [one.name for one in (folder / "replays").iterdir()]
    assert len(folders) == len(found), "what is left out leaves nothing"
    assert found[0]["model_digest"] == summary["model_digest"]
    assert len({one["model_digest"] for one in found}) > len(found) / 2
    with pytest.raises(ConfigError):
        replay(folder, ["fedavg", "fisher"])

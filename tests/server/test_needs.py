"""Everyday needs: fewer clients a round, no test set, the best round, moving a run."""

import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy

from fedelta.protocols.errors import ConfigError
from fedelta.server import checks, files, records
from fedelta.server.boards import Board
from fedelta.server.report import write
from fedelta.server.simulations import resume, simulate
from fedelta.server.tables import closing_table
from tests import tiny

QUICK = {"eval": {"local": False}}


def ran(folder: Path, **more: Any) -> tuple[Path, dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    config = tiny.config(folder, **QUICK | more)
    return Path(config.run.out), simulate(config, workers=0)


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [one for one in records.read(folder / "record.jsonl") if one["kind"] == kind]


def test_a_round_asks_so_many_clients(tmp_path: Path) -> None:
    folder, summary = ran(tmp_path, run={"rounds": 4}, round={"clients": 2})
    by_round: dict[int, set[str]] = {}
    for one in lines(folder, "contribution"):
        by_round.setdefault(one["round"], set()).add(one["client"])
    assert [len(one) for one in by_round.values()] == [2, 2, 2, 2]
    assert len(set(map(frozenset, by_round.values()))) > 1, "always the same two"
    assert summary["clients"] == 4


def test_clients_judge_where_there_is_no_test_set(tmp_path: Path) -> None:
    folder, summary = ran(
        tmp_path,
        data={"test": 0.0, "validation": 0.25},
        eval={"where": "clients"},
    )
    told = lines(folder, "evaluation")
    assert [(one["round"], one["where"]) for one in told] == [
        (0, "clients"),
        (1, "clients"),
        (2, "clients"),
    ]
    held = sum(one["metrics"]["examples"] for one in told[-1:])
    assert summary["metrics"]["final"]["examples"] == held
    assert 32 < held <= 40, "a quarter of 160, rounded down at each client"
    assert summary["metrics"]["local"] == []


def test_several_metrics_stand_together(tmp_path: Path) -> None:
    folder, summary = ran(tmp_path, run={"rounds": 1}, eval={"metric": "macro_f1"})
    assert {"accuracy", "loss", "macro_f1"} <= summary["metrics"]["final"].keys()
    for one in lines(folder, "evaluation"):
        assert {"accuracy", "loss", "macro_f1"} <= one["metrics"].keys()
    assert "macro_f1" in summary["best"]["metrics"]


def wild(folder: Path, **settings: Any) -> tuple[Path, dict[str, Any]]:
    """A run whose loss falls in round 1 and rises from then on."""
    return ran(
        folder,
        run={"rounds": 6},
        train={"learning_rate": 0.3, "optimizer": "adamw", "steps": 6},
        eval={"metric": "loss", "local": False} | settings,
    )


def test_the_best_round_is_written_out(tmp_path: Path) -> None:
    folder, summary = wild(tmp_path / "best", keep="best")
    losses = {
        one["round"]: one["metrics"]["loss"] for one in lines(folder, "evaluation")
    }
    leader = min(range(1, 7), key=lambda number: losses[number])
    assert summary["best"]["round"] == summary["kept"]["round"] == leader
    assert leader < 6, "the last round was the best: this shows nothing"
    assert summary["kept"]["model_digest"] != summary["model_digest"]
    assert summary["metrics"]["final"]["loss"] == losses[6]
    other, last = wild(tmp_path / "last", keep="last")
    assert last["kept"] == {"round": 6, "model_digest": last["model_digest"]}
    assert last["best"]["round"] == leader
    heads = [
        safetensors.numpy.load_file(one / "model" / "head.safetensors")
        for one in (folder, other)
    ]
    assert (heads[0]["classifier.weight"] != heads[1]["classifier.weight"]).any()


def test_a_run_stops_where_nothing_gets_better(tmp_path: Path) -> None:
    folder, summary = wild(tmp_path, early_stop=2)
    leader = summary["best"]["round"]
    assert summary["stopped"] == {"round": leader + 2, "planned": 6}
    assert summary["rounds"] == leader + 2
    assert len(lines(folder, "round")) == leader + 2
    assert summary["metrics"]["final"]["loss"] > summary["best"]["metrics"]["loss"]


def test_what_steers_must_be_measured(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, eval={"where": "none", "early_stop": 1})
    with pytest.raises(ConfigError, match="need evaluations"):
        checks.check(config)
    with pytest.raises(
        ConfigError, match=r"perplexity.* is not measured; there is acc"
    ):
        ran(tmp_path, eval={"metric": "perplexity", "keep": "best"})


@pytest.mark.parametrize("local", [False, True])
def test_a_run_that_nobody_judges_is_told_of(tmp_path: Path, *, local: bool) -> None:
    folder, summary = ran(tmp_path, eval={"where": "none", "local": local})
    assert summary["metrics"]["final"] == {}
    assert "not judged" in write(folder).read_text()
    assert closing_table(summary).row_count == 1


def test_a_moved_run_resumes_to_the_same_model(tmp_path: Path) -> None:
    _, whole = ran(tmp_path / "whole", run={"rounds": 3})
    (tmp_path / "cut").mkdir()
    config = tiny.config(tmp_path / "cut", **QUICK, run={"rounds": 3})

    def cut(line: records.Line) -> None:
        if line["kind"] == "asked" and line["round"] == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        simulate(config, workers=0, listeners=[cut])
    moved = tmp_path / "elsewhere" / "run"
    moved.parent.mkdir()
    shutil.move(config.run.out, moved)
    summary = resume(moved, workers=0)
    assert not Path(config.run.out).exists(), "it went back to where it was"
    # the data lies elsewhere than in the other run, and its path is in the run's id
    assert summary["metrics"]["final"] == pytest.approx(whole["metrics"]["final"])
    assert len(lines(moved, "round")) == 3


def test_the_journal_keeps_so_many_rounds(tmp_path: Path) -> None:
    for keep, left in (("all", [1, 2, 3]), ("last", [3]), (2, [2, 3])):
        folder, _ = ran(tmp_path / str(keep), run={"rounds": 3}, journal={"keep": keep})
        found = sorted((folder / "journal").glob("round-*/*.payload"))
        rounds = {int(path.parent.name.removeprefix("round-")) for path in found}
        assert sorted(rounds) == left
        assert len(found) == 4 * len(left)
        manifests = list((folder / "journal").glob("round-*/manifest.json"))
        assert len(manifests) == 4, "what was committed is never forgotten"


def test_events_for_tensorboard_follow_the_record(tmp_path: Path) -> None:
    folder, summary = ran(tmp_path, run={"tensorboard": True})
    (path,) = (folder / "tensorboard").iterdir()
    events = list(tfrecords(path.read_bytes()))
    assert b"brain.Event:2" in events[0]
    assert any(b"evaluation/accuracy" in one for one in events)
    value = struct.pack("<f", summary["metrics"]["final"]["loss"])
    assert any(b"evaluation/loss" in one and value in one for one in events)
    before = path.read_bytes()
    files.write_json(folder / "other.json", {})
    told = Board(folder / "tensorboard")
    for line in records.read(folder / "record.jsonl"):
        told(line)
    assert len(path.read_bytes()) >= len(events[0])
    assert before[:8] == path.read_bytes()[:8]


@pytest.mark.peer("tensorboard")
def test_tensorboard_reads_the_events(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_file_loader import (
        RawEventFileLoader,
    )
    from tensorboard.compat.proto.event_pb2 import Event

    board = Board(tmp_path)
    board({"kind": "evaluation", "at": 1.5, "round": 300, "metrics": {"loss": 0.25}})
    (path,) = tmp_path.iterdir()
    found = [Event.FromString(one) for one in RawEventFileLoader(str(path)).Load()]
    assert found[0].file_version == "brain.Event:2"
    assert found[1].step == 300
    assert found[1].summary.value[0].tag == "evaluation/loss"
    assert found[1].summary.value[0].simple_value == 0.25


def tfrecords(data: bytes) -> Iterator[bytes]:
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield data[12 : 12 + length]
        data = data[16 + length :]


def test_the_configuration_that_a_folder_keeps_can_be_run_again(tmp_path: Path) -> None:
    folder, summary = ran(tmp_path, run={"rounds": 1})
    kept = json.loads((folder / "config.json").read_text())
    assert kept["eval"]["keep"] == "last"
    assert resume(folder) == summary

"""A run that is killed at any moment, again and again, comes to the same model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedelta.server import records
from fedelta.server.runs import config_json
from fedelta.server.simulations import simulate
from tests import tiny

ROOT = Path(__file__).parents[2]


def killed(folder: Path, seed: int, kills: int) -> dict[str, Any]:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.end_to_end.zygotes",
            str(folder),
            str(seed),
            str(kills),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


SCAFFOLD: dict[str, Any] = {
    "train": {"scaffold": True, "optimizer": "sgd", "learning_rate": 0.1},
    "lora": {"space": "core", "rank": 4},
    "wire": {"up": "fp16"},
}
"""Clients keep control variates, which must be those of the rounds that counted."""


def compare(tmp_path: Path, seed: int, kills: int, **more: Any) -> int:
    tables: dict[str, Any] = {
        "run": {"rounds": 4},
        "merge": {"server_optimizer": "momentum(0.5)"},
        "eval": {"local": False},
        **more,
    }
    plain = tiny.config(tmp_path / "plain", **tables)
    wanted = simulate(plain, workers=0)
    asked = tiny.config(
        tmp_path / "killed",
        **tables
        | {"model": {"id": plain.model.id}, "data": {"source": plain.data.source}},
    )
    (tmp_path / "killed").mkdir(exist_ok=True)
    (tmp_path / "killed" / "asked.json").write_text(config_json(asked))
    found = killed(tmp_path / "killed", seed, kills)
    assert found["digest"] == wanted["model_digest"]
    one, two = (
        [
            (line["kind"], line.get("round"), line.get("client"), line.get("digest"))
            for line in records.read(tmp_path / name / "run" / "record.jsonl")
        ]
        for name in ("plain", "killed")
    )
    assert sorted(one, key=str) == sorted(two, key=str)
    return int(found["killed"])


def test_three_kills(tmp_path: Path) -> None:
    assert compare(tmp_path, 1, 3) >= 1


def test_kills_leave_control_variates_in_step(tmp_path: Path) -> None:
    assert compare(tmp_path, 4, 3, **SCAFFOLD) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_twenty_kills(tmp_path: Path, seed: int) -> None:
    assert compare(tmp_path, seed, 20) >= 5

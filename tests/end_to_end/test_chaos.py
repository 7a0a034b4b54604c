"""`make chaos` in a reduced form: kills, a full disk and a clock that jumps."""

import json
from pathlib import Path

import pytest

from tests.scripts import told


@pytest.mark.slow
@pytest.mark.needs_root
def test_whatever_happens_the_model_is_the_undisturbed_runs(tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    command = ["--kills", "12", "--blows", "0", "--json", str(rows)]
    assert "left out" not in told("benchmarks/chaos.py", *command, limit=600)
    found = json.loads(rows.read_text())
    assert sum(row[2] for row in found if row[0].startswith(("before", "after"))) >= 12
    assert {"the disk is full", "the clock jumps by two years"} <= {
        row[0] for row in found if row[2]
    }

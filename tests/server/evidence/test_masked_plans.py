"""What a plan says of masked rounds: their numbers, and what each choice would open."""

import io
from pathlib import Path

from rich.console import Console

from fedelta.server.evidence import sheets
from fedelta.server.evidence.plans import Planner
from tests import tiny


def test_the_leak_of_each_choice_is_printed(tmp_path: Path) -> None:
    config = tiny.config(
        tmp_path,
        data={"clients": 5},
        lora={"space": "frozen-a"},
        merge={"recipe": "ties(density=0.2)"},
        privacy={"secure_aggregation": True},
    )
    found = Planner(config, (1 << 20, 1.0)).plan()
    said = found["secure"]
    assert (said["threshold"], said["clients"], said["passes"]) == (4, 5, 2)
    assert 0 < said["leaks"]["shared, one pass"] < 1
    assert 0 < said["leaks"]["private, one pass"] < 1
    assert said["leaks"]["private, counts first"] == 0
    assert said["bytes"] > 0
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(sheets.goals(found))
    text = console.export_text()
    assert "masked sum" in text
    assert "of elements opened from fewer than 3, by chance: private, one pass" in text
    plain = tiny.config(tmp_path, data={"clients": 5})
    assert Planner(plain, (1 << 20, 1.0)).plan()["secure"] is None

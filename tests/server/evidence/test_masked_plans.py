"""What a plan says of masked rounds: their numbers, and what each choice would open."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    text = shown(found)
    assert "masked sum" in text
    assert "5 clients" in text
    assert "of a client (plan.gflops), on a line of 10Mbit up and 50Mbit down" in text
    assert "of elements opened from fewer than 3, by chance: private, one pass" in text


def shown(found: dict[str, Any]) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(sheets.goals(found))
    return console.export_text()


def test_without_masks_the_plan_says_what_they_would_open(tmp_path: Path) -> None:
    lora = {"rank": 2, "alpha": 4.0, "space": "frozen-a"}
    plain = tiny.config(tmp_path, data={"clients": 5}, lora=lora)
    found = Planner(plain, (1 << 20, 1.0)).plan()
    masked = replace(plain, privacy=replace(plain.privacy, secure_aggregation=True))
    said = Planner(masked, (1 << 20, 1.0)).plan()["secure"]
    assert found["secure"] == said | {
        "on": False,
        "opens": f"every reply; with masks {said['opens']}",
    }
    assert f"the server opens every reply; with masks {said['opens']}" in shown(found)
    product = replace(plain, lora=replace(plain.lora, space="product"))
    there = shown(Planner(product, (1 << 20, 1.0)).plan())
    assert "the server opens every reply" in there
    assert 'under masks take "frozen-a"' in there

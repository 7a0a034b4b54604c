"""Replies that come late, and rounds at each client's own pace, over a real grid.

Flower's grid is played by our in-process one, which can be asked for single replies as
SuperLink is; the clients are worker processes, some with slow lines.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fedelta.protocols.settings import Config
from fedelta.server import records
from fedelta.server.coordination import coordinate
from fedelta.server.engine import InProcessGrid
from fedelta.server.hosts.grids import HostGrid
from fedelta.server.journal import Journal
from fedelta.server.runs import config_json
from tests import tiny
from tests.server.hosts.lines import SLOW

NAMES = ("ada", "bob", "cleo")
COMMAND = (sys.executable, "-m", "tests.server.hosts.lines")


def config(tmp_path: Path, **tables: Any) -> Config:
    given: dict[str, Any] = {
        "data": {"partition": "iid"},
        "wire": {"up": "fp32"},
        "eval": {"local": False},
        "clients": [{"name": name} for name in NAMES],
    }
    return tiny.config(tmp_path, **given | tables)


def hosted(made: Config) -> list[records.Line]:
    """Run it over a host's grid; its record."""
    journal = Journal(Path(made.run.out))
    journal.hold()
    states = {name: journal.folder / "clients" / name for name in NAMES}
    given = {"config": config_json(made)}
    try:
        with InProcessGrid(states, given, workers=3, command=COMMAND) as inner:
            grid = HostGrid(inner, inner.nodes)
            coordinate(grid, made, journal)
    finally:
        journal.release()
    return [
        one
        for one in records.read(journal.folder / "record.jsonl")
        if one["kind"] == "contribution"
    ]


def test_who_is_late_counts_in_the_next_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three end each round; the third comes later, stale, and once."""
    monkeypatch.setenv(SLOW, "cleo=6")
    made = config(
        tmp_path,
        run={"rounds": 3},
        round={"late": "keep", "clients": 2, "over_select": 0.5},
    )
    told = hosted(made)
    stale = [one for one in told if one.get("stale")]
    assert {one["client"] for one in stale} <= {"cleo"}
    accepted = [
        (one["client"], one.get("since", one["round"]))
        for one in told
        if one["verdict"] == "accepted"
    ]
    assert len(accepted) == len(set(accepted)) == 6
    late = {one["client"] for one in told if one["reason"] == "LATE"}
    assert late == {"cleo"}


def test_everyone_at_their_own_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SLOW, "cleo=3")
    made = config(tmp_path, run={"rounds": 6}, round={"mode": "async", "buffer": 1})
    told = hosted(made)
    assert [one["round"] for one in told] == list(range(1, 7))
    assert {one["verdict"] for one in told} == {"accepted"}
    began = [(one["client"], one.get("since", one["round"])) for one in told]
    assert len(began) == len(set(began)), "nobody counts twice for one question"
    assert {one["client"] for one in told if one.get("stale")}
    folder = Path(made.run.out)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["refused"] == {}

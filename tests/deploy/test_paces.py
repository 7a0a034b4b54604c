"""A slow institution on a real SuperLink: at its own pace, and late."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedelta.client.joins import nodes
from fedelta.server import records
from tests.deploy.conftest import NAMES, Federation
from tests.server.hosts.federations import run

pytestmark = [pytest.mark.slow, pytest.mark.needs_nginx]
QUICK, SLOW = NAMES
WAIT = 5
"""Seconds that the slow one's client takes longer, for every message."""


@pytest.fixture(scope="module")
def slowed(finished: Path, federation: Federation) -> Iterator[Federation]:
    launcher = nodes.launchers(federation.members[SLOW]) / "flwr-clientapp"
    before = launcher.read_text()
    launcher.write_text(before.replace("exec ", f"sleep {WAIT}\nexec "))
    yield federation
    launcher.write_text(before)


def told(federation: Federation, name: str, *settings: str) -> list[records.Line]:
    """A run's contributions, as its record has them."""
    words = [word for one in (f"run.out={name}", *settings) for word in ("--set", one)]
    place = ("--dir", str(federation.host.root))
    run("host", "run", str(federation.config), *place, *words)
    out = federation.host.runs / name
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    assert summary["clients"] == len(NAMES)
    found = records.read(out / "record.jsonl")
    return [one for one in found if one["kind"] == "contribution"]


def counted(lines: list[records.Line]) -> list[tuple[str, int]]:
    """By accepted reply, whose it is and which round it was asked in."""
    return [
        (str(one["client"]), int(one.get("since") or one["round"]))
        for one in lines
        if one["verdict"] == "accepted"
    ]


def test_nobody_waits_for_the_slow_one(slowed: Federation) -> None:
    """A round is over with one reply; the slow one's count in later ones, once each."""
    lines = told(slowed, "paced", "run.rounds=3", "round.mode=async", "round.buffer=1")
    assert [one["round"] for one in lines] == [1, 2, 3]
    assert {one["verdict"] for one in lines} == {"accepted"}
    asked = counted(lines)
    assert len(asked) == len(set(asked))
    assert SLOW in {one["client"] for one in lines if one.get("stale")}


def test_who_is_late_counts_in_a_later_round(slowed: Federation) -> None:
    """One more is asked than is waited for; what comes later counts once, as stale."""
    lines = told(
        slowed,
        "late",
        "run.rounds=3",
        "round.late=keep",
        "round.clients=1",
        "round.over_select=1.0",
    )
    assert SLOW in {one["client"] for one in lines if one["reason"] == "LATE"}
    assert SLOW in {one["client"] for one in lines if one.get("stale")}
    asked = counted(lines)
    assert len(asked) == len(set(asked)) == 3

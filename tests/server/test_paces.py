"""Rounds at each client's own pace: what counts, for how much, and to which bytes."""

import math
from pathlib import Path
from typing import Any

import pytest

from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config
from fedelta.server import paces, records
from fedelta.server.runs import load
from fedelta.server.simulations import resume, simulate
from tests import tiny
from tests.federations import federate, lines, silent

SPEEDS = {"ada": 1.0, "bob": 1.5, "cleo": 4.0, "dan": 4.2}


def config(tmp_path: Path, name: str, **tables: Any) -> Config:
    given: dict[str, Any] = {
        "model": {"id": str(tiny.model(tmp_path))},
        "data": {"source": str(tiny.data(tmp_path)), "partition": "iid"},
        "run": {"rounds": 5},
        "round": {"mode": "async", "buffer": 2},
        "wire": {"up": "fp32"},
        "eval": {"local": False, "where": "both"},
        "clients": [{"name": n, "seconds": s} for n, s in SPEEDS.items()],
    }
    for table, keys in tables.items():
        given[table] = keys if table == "clients" else given.get(table, {}) | keys
    given["data"]["validation"] = 0.2
    return tiny.config(tmp_path / name, **given)


def test_the_fast_count_more_often_and_the_slow_come_stale(tmp_path: Path) -> None:
    made = config(tmp_path, "run")
    federate(made)
    told = lines(made, "contribution")
    seen = [(one["round"], one["client"], one.get("stale", 0)) for one in told]
    wanted = [
        (number, turn.client, number - turn.since)
        for number in range(1, 6)
        for turn in paces.turns(made, list(SPEEDS), number)
    ]
    assert sorted(seen) == sorted(wanted)
    assert {one["verdict"] for one in told} == {"accepted"}
    assert max(stale for *_, stale in seen) >= 2
    names = [name for _, name, _ in seen]
    assert names.count("ada") > names.count("dan") >= 1


def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path) -> None:
    one = federate(config(tmp_path, "one"))
    two = simulate(config(tmp_path, "two"), workers=2)
    assert one["model_digest"] == two["model_digest"]


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = federate(config(tmp_path, "whole"))
    made = config(tmp_path, "part")

    class StopError(RuntimeError):
        """The process dies."""

    def stop(line: records.Line) -> None:
        if line["kind"] == "contribution" and line["round"] == 4:
            raise StopError

    with pytest.raises(StopError):
        simulate(made, workers=0, listeners=[stop])
    again = resume(Path(made.run.out), workers=0)
    assert again["model_digest"] == whole["model_digest"]


def test_with_everybody_in_the_buffer_it_is_the_plain_run(tmp_path: Path) -> None:
    full = federate(config(tmp_path, "full", round={"mode": "async", "buffer": 4}))
    plain = federate(config(tmp_path, "plain", round={"mode": "sync"}))
    assert full["model_digest"] == plain["model_digest"]


def test_one_that_fails_begins_again(tmp_path: Path) -> None:
    made = config(tmp_path, "run", round={"mode": "async", "buffer": 2, "quorum": 1})
    federate(made, {("ada", 1): silent})
    told = lines(made, "contribution")
    first = [one["verdict"] for one in told if one["client"] == "ada"]
    assert first[:2] == ["refused", "accepted"]


def test_stale_shares() -> None:
    stale = {"a": 0, "b": 1, "c": 3}
    found = paces.weighed(dict.fromkeys(stale, 100), stale)
    for name, behind in stale.items():
        assert found[name] == pytest.approx(102_400 / math.sqrt(1 + behind), abs=1)


def test_drawn_durations_are_of_the_seed_and_within_bounds() -> None:
    names = [f"c{n}" for n in range(50)]
    one = paces.durations(load(overrides=["run.seed=1"]), names)
    assert one == paces.durations(load(overrides=["run.seed=1"]), names)
    assert one != paces.durations(load(overrides=["run.seed=2"]), names)
    assert all(1 <= took <= 10 for took in one.values())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["round.mode=async", "round.clients=3"], "round.clients"),
        (["round.mode=async", "merge.tree=regions"], "merge.tree"),
        (["round.over_select=0.5"], "round.clients"),
        (["round.buffer=-1"], "round.buffer"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(overrides=overrides)


def test_the_first_of_more_than_wanted_count(tmp_path: Path) -> None:
    made = config(
        tmp_path, "run", round={"mode": "sync", "clients": 2, "over_select": 0.5}
    )
    summary = federate(made)
    told = lines(made, "contribution")
    for number in range(1, 6):
        mine = [one for one in told if one["round"] == number]
        assert sorted(str(one["reason"]) for one in mine) == ["LATE", "None", "None"]
    assert summary["refused"] == {"LATE": 5}

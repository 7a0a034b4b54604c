"""Bytes are counted as the transport had them, by direction, client and kind."""

from pathlib import Path

import pytest

from tests import tiny
from tests.federations import federate, lines


def test_evaluations_are_counted_too(tmp_path: Path) -> None:
    config = tiny.config(
        tmp_path, eval={"where": "clients", "local": False}, data={"validation": 0.3}
    )
    summary = federate(config)
    trained, told = lines(config, "contribution"), lines(config, "traffic")
    kinds = [(line["what"], line["round"]) for line in told]
    assert kinds == [("query", 0), *(("evaluate", number) for number in range(3))]
    judged = told[1:]
    clients = {line["client"] for line in trained}
    assert all(line["clients"].keys() == clients for line in told)
    each = [one for line in told for one in line["clients"].values()]
    assert all(one["up"] > 0 and one["down"] > 0 for one in each)
    up = sum(line["bytes"] for line in trained) + sum(one["up"] for one in each)
    down = sum(line["down"] for line in trained) + sum(one["down"] for one in each)
    assert (summary["bytes"]["up"], summary["bytes"]["down"]) == (up, down)
    first = judged[1]["clients"]["client-00"]["down"]
    released = lines(config, "release")[0]["bytes"]
    assert first > released  # the update travels with the question
    after = next(one for one in trained if one["round"] == 2)
    assert after["down"] < released  # and not again


@pytest.mark.parametrize(
    ("wire", "formats"),
    [
        ({"up": "int4", "down": "sign256"}, {"int4": 9}),
        ({"up": "sparse(density=0.2)", "down": "int8"}, {"fp8 gaps": 9}),
        ({"up": "masked(density=0.25)", "down": "fp8"}, {"fp8 seeded": 9}),
    ],
)
def test_every_client_reaches_the_same_bytes(
    tmp_path: Path, wire: dict[str, str], formats: dict[str, int]
) -> None:
    config = tiny.config(tmp_path, wire=wire, eval={"local": False})
    summary = federate(config)
    found = lines(config, "contribution")
    assert all(line["formats"] == formats for line in found)
    assert all(line["verdict"] == "accepted" for line in found)
    assert lines(config, "release")[-1]["digest"] == summary["model_digest"]


def test_comparisons_are_told_apart(tmp_path: Path) -> None:
    """What it takes to train alone is no part of what the federation took."""
    config = tiny.config(tmp_path)
    summary = federate(config)
    (apart,) = lines(config, "comparison")
    assert apart["what"] == "train.alone"
    assert len(apart["clients"]) == summary["clients"]
    assert all(one["up"] > 0 and one["down"] > 0 for one in apart["clients"].values())
    query = lines(config, "traffic")[0]["clients"].values()
    trained = lines(config, "contribution")
    up = sum(line["bytes"] for line in trained) + sum(one["up"] for one in query)
    assert summary["bytes"]["up"] == up


@pytest.mark.parametrize("space", ["product", "frozen-a"])
def test_the_way_down_has_a_budget_too(tmp_path: Path, space: str) -> None:
    """It holds, is told, differs from the default, and all reach the same bytes."""
    config = tiny.config(
        tmp_path,
        wire={"down_bytes": 1500},
        lora={"space": space},
        eval={"local": False},
    )
    summary = federate(config)
    released = lines(config, "release")
    assert all(0 < line["bytes"] <= 1500 for line in released)
    assert all(sum(line["formats"].values()) > 0 for line in released)
    assert released[-1]["digest"] == summary["model_digest"]
    assert {one["verdict"] for one in lines(config, "contribution")} == {"accepted"}


def test_the_server_measures_what_goes_down(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, wire={"down": "auto"}, eval={"local": False})
    federate(config)
    (first, *_) = lines(config, "release")
    assert first["formats"] != {"fp16": sum(first["formats"].values())}


def test_budgets_hold_and_are_told(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, wire={"up_bytes": 1300}, eval={"local": False})
    federate(config)
    for line in lines(config, "contribution"):
        assert line["verdict"] == "accepted", line
        assert line["payload"] <= 1300
        assert 0 < line["metrics"]["wire_energy"] <= 1
        assert line["metrics"]["wire_bits"] == pytest.approx(8 * line["payload"] / 640)

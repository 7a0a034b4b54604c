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
    trained, judged = lines(config, "contribution"), lines(config, "traffic")
    assert [line["round"] for line in judged] == [0, 1, 2]
    assert all(line["what"] == "evaluate" for line in judged)
    clients = {line["client"] for line in trained}
    assert all(line["clients"].keys() == clients for line in judged)
    each = [one for line in judged for one in line["clients"].values()]
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


def test_budgets_hold_and_are_told(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, wire={"up_bytes": 1300}, eval={"local": False})
    federate(config)
    for line in lines(config, "contribution"):
        assert line["verdict"] == "accepted", line
        assert line["payload"] <= 1300
        assert 0 < line["metrics"]["wire_energy"] <= 1
        assert line["metrics"]["wire_bits"] == pytest.approx(8 * line["payload"] / 640)

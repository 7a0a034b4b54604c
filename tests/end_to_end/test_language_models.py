"""Federations of a tiny causal LM, whole: factors, mixed ranks, every weight."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedelta.protocols.settings import Config
from fedelta.server import simulations
from tests import tiny

RANKS = [{"name": "amber", "rank": 2}, {"name": "birch"},
         {"name": "cobalt", "rank": 6, "alpha": 3.0}, {"name": "dune"}]  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "factors": {},
    "ranks": {"clients": RANKS},
    "full": {"train": {"mode": "full"}, "wire": {"up": "sparse(density=0.2)"}},
    "ties": {
        "train": {"mode": "full"},
        "wire": {"up": "sparse(density=0.2)"},
        "merge": {"recipe": "ties(density=0.2)"},
    },
}


def shape(folder: Path, way: dict[str, Any]) -> Config:
    """A run of the tiny LM, without comparisons."""
    base = tiny.lm_config(folder, **way)
    train = replace(base.train, steps=12)
    return replace(base, train=train, eval=replace(base.eval, local=False))


@pytest.mark.parametrize("way", WAYS)
def test_a_federation_lowers_perplexity(tmp_path: Path, way: str) -> None:
    config = shape(tmp_path, WAYS[way])
    simulations.simulate(config, workers=0)
    lines = (Path(config.run.out) / "record.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    found = [one["metrics"] for one in told if one["kind"] == "evaluation"]
    assert len(found) == 3
    assert found[-1]["perplexity"] < found[1]["perplexity"] < found[0]["perplexity"]
    for name in ("amber", "birch", "cobalt", "dune"):
        assert found[-1][f"perplexity/{name}"] < found[0][f"perplexity/{name}"]
    taken = [one["verdict"] for one in told if one["kind"] == "contribution"]
    assert taken == ["accepted"] * 8

"""Federations whose A is frozen, or whose merged matrices come back whole."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedelta.client import data, models
from fedelta.protocols.errors import ConfigError
from fedelta.server import checks, simulations
from fedelta.server.replays import replay
from tests import tiny


def ran(folder: Path, **tables: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """A run of the tiny LM, and its record."""
    given: dict[str, Any] = {"train": {"steps": 6}, "eval": {"local": False}}
    for table, keys in tables.items():
        given[table] = given.get(table, {}) | keys
    config = tiny.lm_config(folder, **given)
    checks.check(config)
    summary = simulations.simulate(config, workers=0)
    lines = (Path(config.run.out) / "record.jsonl").read_text().splitlines()
    return summary, [json.loads(line) for line in lines]


def falls(summary: dict[str, Any]) -> bool:
    """Whether perplexity does."""
    metrics = summary["metrics"]
    return bool(metrics["final"]["perplexity"] < metrics["base"]["perplexity"])


def payload(record: list[Any]) -> int:
    """Bytes of the first accepted reply."""
    found = [one["payload"] for one in record if one["kind"] == "contribution"]
    return int(found[0])


@pytest.mark.parametrize("init", ["run", "round"])
def test_b_alone_travels_where_a_is_frozen(tmp_path: Path, init: str) -> None:
    lora = {"space": "frozen-a", "init": init}
    wire = {"up": "fp32", "down": "fp32"}
    summary, record = ran(tmp_path, lora=lora, wire=wire)
    assert falls(summary)
    config = tiny.lm_config(tmp_path, lora=lora)
    base = models.load_base(config, data.load(config).labels)
    layout = base.layout(config)
    assert all("lora_A" not in name for name in layout.names)
    assert base.update_layout() == layout
    assert payload(record) < 5 * layout.size + 4096
    reports = [one["merge"] for one in record if one["kind"] == "round"]
    assert all(one["truncation"] == 0.0 for one in reports)
    if init == "run":
        folder = tmp_path / "run" / "model"
        pairs = load_file(folder / "adapter_model.safetensors")
        key = models.run_key(config)
        for name, a in base.start(config, key, 1).items():
            found = pairs[f"base_model.model.{name}"].astype(np.float64)
            rows = found[np.abs(found).max(1) > 1e-4]  # all in the span of A
            rest = rows - rows @ np.linalg.pinv(a) @ a
            assert np.abs(rest).max() < 1e-4


def test_frozen_replies_count_the_same_in_any_order_of_sides(tmp_path: Path) -> None:
    lora = {"space": "frozen-a"}
    merge = {"recipe": "ties(density=0.5)"}
    run = {"rounds": 1}
    whole, _ = ran(tmp_path, lora=lora, merge=merge, run=run, wire={"up": "fp32"})
    (again,) = replay(tmp_path / "run", ["ties(density=0.5)"])
    assert again["model_digest"] == whole["model_digest"]
    with pytest.raises(ConfigError, match="frozen-a"):
        replay(tmp_path / "run", ["fedavg @ product"])


@pytest.mark.parametrize("recipe", ["fedavg()", "ties(density=0.5)"])
def test_nothing_is_cut_off_from_a_residual(tmp_path: Path, recipe: str) -> None:
    summary, record = ran(
        tmp_path,
        lora={"space": "residual"},
        merge={"recipe": recipe},
        wire={"up": "fp16", "down": "int8"},
    )
    assert falls(summary)
    assert summary["adapter"] == {"written": "folded"}
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    reports = [one["merge"] for one in record if one["kind"] == "round"]
    assert all(one["truncation"] == 0.0 for one in reports)


def test_residual_and_product_agree_where_nothing_is_cut_off(tmp_path: Path) -> None:
    lora = {"rank_down": 32, "rank": 4}
    wire = {"up": "fp32", "down": "fp32"}
    ran(tmp_path, lora=lora, wire=wire, run={"rounds": 1})
    one, other = replay(tmp_path / "run", ["fedavg", "fedavg @ residual"])
    for name, value in one["metrics"]["final"].items():
        assert other["metrics"]["final"][name] == pytest.approx(value, rel=1e-5)


def test_ranks_may_differ_in_a_residual_alone(tmp_path: Path) -> None:
    clients = ({"name": "amber", "rank": 2}, {"name": "birch"}, {"name": "cobalt"})
    for space, right in (("residual", True), ("frozen-a", False)):
        config = tiny.lm_config(tmp_path, clients=clients, lora={"space": space})
        if right:
            checks.check(config)
            continue
        with pytest.raises(ConfigError, match="equal ranks"):
            checks.check(config)


def test_optimisers_need_products(tmp_path: Path) -> None:
    merge = {"server_optimizer": "momentum(0.9)"}
    config = tiny.lm_config(tmp_path, lora={"space": "frozen-a"}, merge=merge)
    with pytest.raises(ConfigError, match="server_optimizer"):
        checks.check(config)

"""Whole runs whose clients add the noise: what is charged, refused, and left."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedelta.client.accountants import Event, epsilon
from fedelta.client.ledgers import Charge, Ledger
from fedelta.protocols.aborts import AbortError
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config
from fedelta.server import files
from fedelta.server.verifications import EQUAL, verify
from tests.federations import lines

from .test_masks import made, run

pytestmark = pytest.mark.peer("dp_accounting")
NOISY = {
    "mode": "client",
    "noise_by": "clients",
    "clip": 0.5,
    "noise_multiplier": 2.0,
    "release": 0,
    "slack": 0,
}


def noisy(root: Path, name: str, **tables: Any) -> Config:
    given = {"merge": {"weights": "uniform"}} | tables
    return made(root, name, **given | {"privacy": NOISY | tables.get("privacy", {})})


def update(config: Config) -> Any:
    folder = Path(config.run.out)
    held = files.read_arrays(folder / "masks" / "round-0001.safetensors")
    return held["planes"].astype(np.float64)


@pytest.mark.parametrize("recipe", ["fedavg()", "ties(density=0.5)"])
def test_a_sum_is_charged_before_it_is_opened_and_has_its_noise(
    tmp_path: Path, recipe: str
) -> None:
    merge = {"recipe": recipe, "weights": "uniform"}
    config = noisy(tmp_path, "run", merge=merge, run={"rounds": 2})
    summary = run(config, {"client-02": "input"})
    spent = epsilon([Event(2.0, 1.0, 2)], 1e-5)
    assert summary["privacy"]["epsilon"] == spent
    told = lines(config, "privacy")
    assert [one["epsilon"] for one in told[1:]] == [epsilon([Event(2.0)], 1e-5), spent]
    assert told[1]["portions"] == 4
    assert told[1]["deviation"] == pytest.approx(2.0 * 0.5 / np.sqrt(4 - 1))
    (masks, _) = lines(config, "masks")
    unit = 2.0 ** (3 - masks["fraction"])
    planes = update(config) * unit
    stated = 2.0 * 0.5 * np.sqrt(4 / 3)  # four portions sized for three
    chance = 5 / np.sqrt(2 * planes.size)  # five standard errors of a deviation
    assert planes.std() == pytest.approx(stated, rel=chance)
    own = Path(config.run.out) / "clients" / "client-00" / "privacy" / "ledger.jsonl"
    assert Ledger(own, 1e-5).spent == spent
    found = verify(Path(config.run.out))
    assert [one.verdict for one in found] == [EQUAL] * len(found)


def test_an_institutions_own_budget_keeps_a_sum_closed(tmp_path: Path) -> None:
    """Three of five have spent elsewhere: they reveal nothing, and the round ends."""
    two = epsilon([Event(2.0, 1.0, 2)], 1e-5)
    config = noisy(tmp_path, "run", privacy={"epsilon": two - 0.1})
    for place in (0, 1, 2):
        home = Path(config.run.out) / "clients" / f"client-0{place}" / "privacy"
        other = Ledger(home / "ledger.jsonl", 1e-5)
        other.charge(Charge("client", 1, "another run's", Event(2.0)))
    with pytest.raises(AbortError, match="TOO_FEW"):
        run(config, {})
    assert not (Path(config.run.out) / "updates" / "0001.payload").exists()
    assert not (Path(config.run.out) / "masks" / "round-0001.json").exists()


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"privacy": {"rate": 0.5}}, "set privacy.rate = 1"),
        ({"privacy": {"release": 3}}, "set privacy.release = 0"),
        ({"privacy": {"quantile": 0.5}}, "leave privacy.quantile out"),
        ({"privacy": {"denominator": 3.0}}, "leave privacy.denominator out"),
        ({"privacy": {"counts": 1.0}}, "for ties|leave privacy.counts out"),
        ({"privacy": {"support": "private"}}, "private"),
        ({"privacy": {"noise_by": "server"}}, 'set privacy.noise_by = "clients"'),
        ({"privacy": {"secure_aggregation": False}}, "single replies"),
        ({"lora": {"space": "factors"}}, "no bounded sum"),
        ({"lora": {"space": "product"}}, "only where A is frozen"),
        ({"merge": {"weights": "examples"}}, "weights by examples"),
    ],
)
def test_what_portions_do_not_go_with_is_refused_by_name(
    tmp_path: Path, tables: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        noisy(tmp_path, "run", **tables)

"""Attacks do what they say, and defences what they can, in a reduced form."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedelta.benchmarks.adversaries import ATTACKS, Field, mean, norm
from fedelta.benchmarks.arenas import Cell, fight
from fedelta.benchmarks.attacks import DEFENCES, grid, settings, table
from fedelta.protocols import seeds
from fedelta.protocols.settings import Config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return settings("tiny", tmp_path_factory.mktemp("arena"))


def field() -> Field:
    drawn = seeds.normal(1, 0, 7 * 20).astype(np.float32).reshape(7, 20)
    honest = [{"b": one[:12].reshape(3, 4), "h": one[12:]} for one in drawn[:6] + 2]
    own = {"b": drawn[6, :12].reshape(3, 4), "h": drawn[6, 12:]}
    return Field(honest, own, 9, 3, 1, {})


def test_attacks_send_what_their_papers_say() -> None:
    given = field()
    usual = float(np.median([norm(one) for one in given.honest]))
    middle = mean(given.honest)
    sent = {name: one.send(given) for name, one in ATTACKS.items()}
    assert all(one.keys() == middle.keys() for one in sent.values())
    np.testing.assert_allclose(sent["sign flip"]["h"], -given.own["h"])
    np.testing.assert_allclose(sent["scaling"]["h"], 3 * given.own["h"], rtol=1e-6)
    assert norm(sent["gaussian"]) == pytest.approx(10 * usual, rel=1e-4)
    inner = sum(float(np.sum(sent["ipm"][n] * middle[n])) for n in middle)
    assert inner < 0
    np.testing.assert_array_equal(sent["mimic"]["b"], given.honest[0]["b"])
    total = {n: sum(one[n] for one in given.honest) for n in middle}
    taken: Any = sent["capture"]
    assert norm(taken) <= usual * (1 + 1e-6)
    hit = np.concatenate([taken[n].ravel() for n in middle]) != 0
    after = np.concatenate([(total[n] + 3 * taken[n]).ravel() for n in middle])
    before = np.concatenate([np.ravel(total[n]) for n in middle])
    assert hit.any()
    assert (np.sign(after[hit]) == -np.sign(before[hit])).all()
    quiet = np.concatenate([np.abs(middle[n]).ravel() for n in middle])
    moved = np.concatenate([np.ravel(sent["hijack"][n]) for n in middle]) != 0
    assert quiet[moved].max() <= np.median(quiet)


def test_a_few_ruin_the_mean_or_open_a_back_door_in_it(config: Config) -> None:
    hit = fight(config, Cell("gaussian", "fedavg()", 0.3))
    assert hit["hostile"] == 3
    assert hit["accuracy"] < 0.6
    entered = fight(config, Cell("scaling", "fedavg()", 0.3))
    assert entered["accuracy"] > 0.9  # nothing is to be seen of it
    assert entered["success"] > 0.9


def test_the_grid_names_what_there_is_and_is_told(tmp_path: Path) -> None:
    every = list(grid(quick=False))
    assert len(set(every)) == len(every)
    assert {one.attack for one in every} == set(ATTACKS)
    assert {one.defence for one in every} == set(DEFENCES)
    rows = [
        {"accuracy": 0.5, "minority": 0.25, "success": 1.0, "model": "tiny"}
        | {"attack": one.attack, "defence": one.defence, "share": one.share}
        | {"space": one.space, "alpha": one.alpha, "seed": one.seed}
        for one in grid(quick=True)
    ]
    told = list(table(rows))
    assert len(told) == len(rows)
    assert sum("success 1.000" in line for line in told) == 3

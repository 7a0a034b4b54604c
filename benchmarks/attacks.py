"""Attacks times defences: ``python benchmarks/attacks.py --cells 20``.

Every cell is a whole federation among honest and hostile clients (`arenas.py`,
`adversaries.py`). What is in the results (``--results``) is not run again, so this
prints what is there; ``--cells N`` runs N more of the grid, ``--quick`` takes the
reduced one, on the tiny model. ``--model icd10`` is the encoder preset.

Columns: clean accuracy without attackers, the minority class's accuracy there (what
the defence costs knowledge that few hold), and under each attack the accuracy that is
left, or for attacks with a trigger how often it works.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedelta.benchmarks.adversaries import ATTACKS
from fedelta.benchmarks.arenas import Cell, fight
from fedelta.benchmarks.quality import read, write
from fedelta.protocols.settings import Config
from fedelta.server.runs import load
from fedelta.tests import tiny

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "attacks.json"
DEFENCES = (
    "fedavg()",
    "ties(density=0.5)",
    "ties(density=0.5, election='count')",
    "min_agree(members=F)",
    "centered_clipping(steps=1)",
    "median()",
    "trimmed_mean(trim=0.3)",
    "geometric_median()",
    "multi_krum(hostile=F)",
    "nnm(trimmed_mean(trim=0.3), hostile=F)",
)
"""`centered_clipping(steps=1)` is clipping to the cohort's median norm, of products."""
SHARES = (0.1, 0.2, 0.3)
SKEWS = (100.0, 0.3)
SEEDS = range(5)
QUICK = (
    ("none", 0.0),
    ("scaling", 0.3),
    ("gaussian", 0.3),
)
FEW = ("fedavg()", "centered_clipping(steps=1)", "trimmed_mean(trim=0.3)")


def grid(*, quick: bool) -> Iterator[Cell]:
    """All cells, the plainest questions first."""
    if quick:
        for defence in FEW:
            yield from (Cell(attack, defence, share) for attack, share in QUICK)
        yield Cell("gauge", "fedavg()", 0.3, "factors")
        yield Cell("gauge", "fedavg()", 0.3, "product")
        return
    for seed in SEEDS:
        for alpha in SKEWS:
            for share in (0.0, *reversed(SHARES)):
                yield from _cells(share, alpha, seed)


def _cells(share: float, alpha: float, seed: int) -> Iterator[Cell]:
    for name, attack in ATTACKS.items():
        if (name == "none") != (share == 0.0):
            continue
        for space in attack.spaces:
            for defence in DEFENCES:
                yield Cell(name, defence, share, space, alpha, seed)


def settings(model: str, folder: Path) -> Config:
    """The runs' settings: the tiny model on tiny texts, or a preset."""
    if model != "tiny":
        return load(preset=model, overrides=["data.clients=10", "run.rounds=4"])
    return tiny.config(
        folder,
        run={"rounds": 3},
        data={"clients": 10, "source": str(tiny.data(folder, 400))},
        train={"steps": 12, "learning_rate": 2e-2},
    )


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Mean over seeds: a line a defence, skew and share, a column an attack."""
    held: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        where = row["space"] if row["attack"] == "gauge" else ""
        name = f"{row['attack']} {where}".strip()
        held[row["model"], row["alpha"], row["defence"], row["share"], name].append(row)
    for (model, alpha, defence, share, name), some in sorted(held.items()):
        judged = ATTACKS[some[0]["attack"]].triggered
        shown = ["accuracy", "minority"] + (["success"] if judged else [])
        told = [
            f"{key} {statistics.fmean(one[key] for one in some):.3f}" for key in shown
        ]
        skew = "iid" if alpha >= SKEWS[0] else f"alpha {alpha:g}"
        head = f"{model:6} {skew:9} f/n {share:.1f}  {defence:42} {name:16}"
        yield f"{head} {'  '.join(told)}  ({len(some)} seeds)"


def main() -> int:
    """Run what was asked for, print what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=0, help="run so many more")
    parser.add_argument("--quick", action="store_true", help="of the reduced grid")
    parser.add_argument("--model", default="tiny", help="tiny, or a preset's name")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        config = settings(given.model, Path(name))
        done = [{key: row[key] for key in _KEYS} for row in read(given.results)]
        todo = [
            cell
            for cell in grid(quick=given.quick)
            if asdict(cell) | {"model": given.model} not in done
        ]
        for cell in todo[: given.cells]:
            row = {**asdict(cell), "model": given.model, **fight(config, cell)}
            write(given.results, [*read(given.results), row])
            print(json.dumps(row), flush=True)
    for line in table(read(given.results)):
        print(line)
    print(f"{max(0, len(todo) - given.cells)} cells are left to run")
    return 0


_KEYS = (*asdict(Cell("", "", 0.0)), "model")

if __name__ == "__main__":
    sys.exit(main())

"""Quality against bytes on the encoder preset: ``python benchmarks/quality.py``.

A grid of formats, with and without error feedback, and recipes; every cell is a whole
federation. Prints the Pareto front and the cheapest setting within 1 % of what dense
FedAvg gains, with its bytes both ways beside those of plain LoRA FedAvg (all factors
as float32). The reduced form (default) has a few cells and judges on fewer examples;
``--full`` runs the whole grid, for hours.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

DENSE = ("fp32", "fp32", True, "fedavg()")
UPS = (
    "sign256",
    "int4",
    "fp8",
    "masked(density=0.25, values='sign256')",
    "masked(density=0.0625, values='sign256')",
    "sparse(density=0.2, values='sign256')",
    "sparse(density=0.05, values='sign256')",
    "sparse(density=0.05, values='int4')",
    "sparse(density=0.05)",
    "sparse(density=0.01)",
    "dare(density=0.1, values='fp8')",
    "budget=6kB",
    "budget=3kB",
)
DOWNS = (
    "fp16",
    "int4",
    "sign256",
    "sign256 @ 8",
    "masked(density=0.25, values='sign256') @ 8",
    "sparse(density=0.05, values='sign256') @ 8",
)
"""What follows the @ is the rank of the update on its way down."""
RECIPES = ("fedavg()", "ties(density=0.2)", "dare(density=0.5)")
FEW = (
    ("sign256", "fp16", True, "fedavg()"),
    ("sign256", "sign256", True, "fedavg()"),
    ("sign256", "sign256", False, "fedavg()"),
    ("sign256", "sign256 @ 8", True, "fedavg()"),
    ("budget=3kB", "sign256 @ 8", True, "fedavg()"),
    ("budget=3kB", "masked(density=0.25, values='sign256') @ 8", True, "fedavg()"),
)
WITHIN, GOAL = 0.01, 100.0

Cell = tuple[str, str, bool, str]


def grid(*, full: bool) -> Iterator[Cell]:
    """The cells; dense first."""
    yield DENSE
    yield from product(UPS, DOWNS, (True, False), RECIPES) if full else FEW


def run(cell: Cell, sets: Sequence[str], folder: Path, workers: int) -> dict[str, Any]:
    """One federation: its metric before and after, and its bytes."""
    up, down, feedback, recipe = cell
    text, _, rank = down.partition(" @ ")
    words = [*sets, f"wire.down={text}", f"wire.feedback={str(feedback).lower()}"]
    words += [f"lora.rank_down={rank}"] if rank else []
    words += [f"merge.recipe={recipe}"]
    if up.startswith("budget="):
        words += ["wire.up=auto", f"wire.up_bytes={up.removeprefix('budget=')}"]
    else:
        words.append(f"wire.up={up}")
    command = [sys.executable, "-m", "fedelta.server.cli", "simulate", "--preset"]
    command += ["icd10", "--json", "--quiet", "--workers", str(workers)]
    command += ["--out", str(folder)]
    command += [word for one in words for word in ("--set", one)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    summary = json.loads(done.stdout)
    base, final = (summary["metrics"][name]["accuracy"] for name in ("base", "final"))
    sizes = summary["bytes"]
    return {
        "up": up,
        "down": down,
        "feedback": feedback,
        "recipe": recipe,
        "gain": final - base,
        "final": final,
        "bytes up": sizes["up"],
        "bytes down": sizes["down"],
        "bytes": sizes["up"] + sizes["down"],
        "plain": 2 * sizes["up_dense_fp32"],
    }


def front(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that no other one beats in bytes and gain."""
    return [
        row
        for row in rows
        if not any(
            other["bytes"] <= row["bytes"]
            and other["gain"] >= row["gain"]
            and other is not row
            and (other["bytes"], -other["gain"]) < (row["bytes"], -row["gain"])
            for other in rows
        )
    ]


def told(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The cheapest within 1 % of the dense gain, and how many times fewer bytes.

    Fewer than plain LoRA FedAvg takes: all factors as float32, both ways.
    """
    dense = rows[0]
    fit = [row for row in rows if row["gain"] >= (1 - WITHIN) * dense["gain"]]
    best = min(fit, key=lambda row: row["bytes"])
    return {"dense": dense, "best": best, "times": dense["plain"] / best["bytes"]}


def main() -> int:
    """Run the grid, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=0, help="the preset's")
    parser.add_argument("--optimizer", default="adamw", choices=["adamw", "sgd"])
    parser.add_argument("--out", type=Path, default=Path("build/wire"))
    given = parser.parse_args()
    sets = ["eval.local=false", f"train.optimizer={given.optimizer}"]
    sets += ["train.learning_rate=0.3"] if given.optimizer == "sgd" else []
    sets += [f"run.rounds={given.rounds}"] if given.rounds else []
    sets += [] if given.full else ["data.test_examples=1000"]
    sets.append("eval.every=1000")
    given.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for cell in grid(full=given.full):
        found = []
        for seed in given.seeds:
            with tempfile.TemporaryDirectory() as name:
                seeded = [*sets, f"run.seed={seed}"]
                found.append(run(cell, seeded, Path(name) / "run", given.workers))
        rows.append(found[0] | {"gain": sum(r["gain"] for r in found) / len(found)})
        print(json.dumps(rows[-1]), flush=True)
        (given.out / f"quality-{given.optimizer}.json").write_text(json.dumps(rows))
    _print(rows)
    _plot(rows, given.out / f"quality-{given.optimizer}.svg")
    return 0


def _print(rows: Sequence[dict[str, Any]]) -> None:
    best = front(rows)
    table = Table(*rows[0], "front", title="quality against bytes")
    for row in sorted(rows, key=lambda one: one["bytes"]):
        cells = [f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()]
        table.add_row(*cells, "*" if row in best else "")
    Console(width=160).print(table)
    found = told(rows)
    print(
        f"cheapest within {WITHIN:.0%} of the dense gain: {found['times']:.1f} times "
        f"fewer bytes both ways (goal {GOAL:.0f}): {found['best']}"
    )


def _plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots()
    axes.semilogx([r["bytes"] for r in rows], [r["gain"] for r in rows], "o")
    best = sorted(front(rows), key=lambda one: one["bytes"])
    axes.semilogx([r["bytes"] for r in best], [r["gain"] for r in best], "-")
    axes.set(xlabel="bytes both ways", ylabel="gain in accuracy")
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())

"""What the README says of the demo, on three paired seeds: ``make check-a``.

Each seed runs twice, once as the preset has it (signs of the larger values, with
feedback) and once sending everything as float32. Then one seed runs again with
another number of workers. Exits with 1 where a number does not hold.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from fedelta.benchmarks.verdicts import verdict

SEEDS = (0, 1, 2)
GAIN, RATIO, LOST = 5.0, 20.0, 1.0
DENSE = ("wire.up=fp32", "eval.local=false")
SHORT = ("run.rounds=2", "eval.local=false", "eval.where=none")


def run(folder: Path, seed: int, sets: Sequence[str], workers: int = 2) -> Any:
    """One run by the command line; its summary."""
    words = ["simulate", "--preset", "icd10", "--json", "--quiet"]
    words += ["--seed", str(seed), "--workers", str(workers), "--out", str(folder)]
    words += [word for one in sets for word in ("--set", one)]
    command = [sys.executable, "-m", "fedelta.server.cli", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def points(seed: int, sent: Any, dense: Any) -> dict[str, float]:
    """One seed's numbers, accuracies in percent."""
    metrics = sent["metrics"]
    base, final = (100 * metrics[name]["accuracy"] for name in ("base", "final"))
    local = 100 * fmean(one["accuracy"] for one in metrics["local"])
    whole = 100 * dense["metrics"]["final"]["accuracy"]
    return {
        "seed": seed,
        "base": base,
        "local mean": local,
        "final": final,
        "over base": final - base,
        "over local": final - local,
        "all sent": whole,
        "lost": whole - final,
        "uplink ratio": sent["bytes"]["up_dense_fp32"] / sent["bytes"]["up"],
    }


def faults(rows: Sequence[dict[str, float]], digests: Sequence[str]) -> list[str]:
    """What does not hold: nothing, where all does."""
    lost = fmean(row["lost"] for row in rows)
    held = {
        f"at least {GAIN} points over the base": min(r["over base"] for r in rows)
        >= GAIN,
        f"at least {GAIN} points over local": min(r["over local"] for r in rows)
        >= GAIN,
        f"uplink at least {RATIO} times smaller": min(r["uplink ratio"] for r in rows)
        >= RATIO,
        f"at most {LOST} point lost on average (here {lost:.2f})": lost <= LOST,
        "the same digest with 1 and 2 workers": len(set(digests)) == 1,
    }
    return [name for name, holds in held.items() if not holds]


def show(rows: Sequence[dict[str, float]]) -> None:
    """Print a row a seed, and their mean."""
    table = Table(title="the demo on several seeds")
    for column in rows[0]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(f"{value:.4g}" for value in row.values()))
    means = [f"{fmean(row[name] for row in rows):.4g}" for name in list(rows[0])[1:]]
    table.add_row("mean", *means, style="bold")
    Console().print(table)


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    seeds = parser.parse_args().seeds
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in seeds:
            print(f"seed {seed} ...", flush=True)
            sent = run(folder / f"sent-{seed}", seed, ())
            dense = run(folder / f"dense-{seed}", seed, DENSE)
            rows.append(points(seed, sent, dense))
        show(rows)
        print("another number of workers ...", flush=True)
        digests = [
            run(folder / f"workers-{count}", seeds[0], SHORT, count)["model_digest"]
            for count in (1, 2)
        ]
    wrong = faults(rows, digests)
    return verdict(wrong)


if __name__ == "__main__":
    sys.exit(main())

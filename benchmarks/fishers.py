"""How many examples Fisher merging wants: ``python benchmarks/fishers.py --cells 5``.

The one-shot clients of `evidence.py` under strong skew, as they are kept in ``--home``
(trained anew where they are not). Each measures its Fisher information with the
trained weights on 1, 4, 16 or 64 of its examples; the factors are merged by it and
judged as there. What is found is kept in ``results/fishers.json``.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from fedelta.benchmarks import evidence, exhibits, quality
from fedelta.benchmarks.trainings import RUN, Cohort
from fedelta.client import statistics
from fedelta.client.adapters import adapted
from fedelta.client.models import run_key
from fedelta.protocols import seeds
from fedelta.protocols.vectors import Floats

RESULTS = Path(__file__).parent / "results" / "fishers.json"
COUNTS = (1, 4, 16, 64)
PLAIN = "fedavg() @ factors"


def looked(cohort: Cohort, name: str, count: int) -> dict[str, Floats]:
    """A client's Fisher information with what it trained, on some of its examples."""
    import torch

    config, base = cohort.config, cohort.base
    telling = replace(config, merge=replace(config.merge, recipe="fisher()"))
    own, _ = cohort.task.split(name)
    key = seeds.key("train", config.run.seed, cohort.round, name)
    some = own.take(np.arange(min(count, len(own))))
    start = base.start(config, run_key(config), cohort.round)
    with adapted(base, config, start) as adapter:
        with torch.no_grad():
            for tensor, one in adapter.travelling.items():
                one.add_(torch.from_numpy(cohort.changes[name][tensor]))
        return statistics.measured(adapter, some, telling, key)


def row(seed: int, home: Path) -> dict[str, Any]:
    """One cohort's accuracies, and what measuring took a client, CPU seconds."""
    cell = evidence.Cell("icd10", "strong", seed)
    cohort = Cohort(evidence.config(cell, evidence.Size()))
    steps = cohort.config.train.steps
    cohort.remembered(home / f"icd10-strong-{seed}-{steps}.safetensors", further=True)
    found: dict[str, dict[str, float]] = {}
    for recipe, space in (("fedavg()", "product"), ("fedavg()", "factors")):
        update = cohort.merged(cohort.arrivals(evidence.DENSE), recipe, space)
        name = PLAIN if space == "factors" else recipe
        found[name] = {"accuracy": round(cohort.judged(update)["accuracy"], 5)}
    for count in COUNTS:
        begun = time.process_time()
        told = {name: looked(cohort, name, count) for name in cohort.names}
        seconds = (time.process_time() - begun) / len(told)
        for name, own in told.items():
            cohort.changes[name] = {**cohort.changes[name], **own}
        given = cohort.arrivals(evidence.DENSE, further=True)
        update = cohort.merged(given, "fisher()", "factors")
        accuracy = round(cohort.judged(update)["accuracy"], 5)
        found[str(count)] = {"accuracy": accuracy, "seconds": round(seconds, 3)}
    names = ("fedelta", "torch", "numpy")
    return {"seed": seed, "run": RUN, "found": found} | {
        "versions": {name: version(name) for name in names}
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Points above the means of products and of factors, by examples."""
    body = []
    for count in map(str, COUNTS):
        held = [one["found"] for one in rows]
        gaps = [
            [one[count]["accuracy"] - one[basis]["accuracy"] for one in held]
            for basis in ("fedavg()", PLAIN)
        ]
        seconds = fmean(one[count]["seconds"] for one in held)
        body.append([count, *map(exhibits.told, gaps), f"{seconds:.2f}"])
    head = [f"examples (cohorts: {len(rows)})", "above `fedavg()`, points"]
    return exhibits.table([*head, f"above `{PLAIN}`", "a client, CPU s"], body)


def tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """By mark in docs/findings.md."""
    if rows:
        yield "fishers", table(rows)


def main() -> None:
    """Measure what is not there yet, keep it, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", type=int, default=0, help="run so many more")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--home", type=Path, default=Path("build/evidence"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    rows = quality.read(given.results)
    done = {one["seed"] for one in rows}
    for seed in [one for one in range(given.seeds) if one not in done][: given.cells]:
        rows = sorted([*rows, row(seed, given.home)], key=lambda one: int(one["seed"]))
        quality.write(given.results, rows)
        print(seed, flush=True)
    for _, text in tables(rows):
        print(f"\n{text}")


if __name__ == "__main__":
    main()

"""What tells of trouble: merges of two clients (``python benchmarks/couples.py``).

Of the cohorts that `evidence.py` trained for one round, encoder and language model,
clients are merged two by two, by several methods and densities, and judged on texts of
the two alone. Figures of the pair, of updates and of a public probe that judges
nothing, are held against what the merges lose (`foresights.py`). What is found is kept
in ``results/couples.json``; ``--cells N`` runs N cohorts more.
"""

import argparse
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from fedelta.aggregators import compare
from fedelta.benchmarks import evidence, foresights, quality
from fedelta.benchmarks.trainings import Change, Cohort
from fedelta.client import probes
from fedelta.client.data import Examples
from fedelta.client.evaluation import evaluate
from fedelta.client.trials import trial
from fedelta.protocols import seeds as keyed

RESULTS = Path(__file__).parent / "results" / "couples.json"
METHODS = (
    "fedavg()",
    "ties(density=0.05)",
    "ties(density=0.2)",
    "ties(density=0.8)",
    "dare(density=0.2)",
    "dare_ties(density=0.2)",
    "dare_ties(density=0.5)",
)
TABLES = ("cosine", "conflict", "conflict_trimmed", "disparity", "overlap_written")
"""Of `compare.compare`."""
PAIRS = 12
"""Of a cohort of eight clients; five have ten."""
JUDGED, PROBE = 12, 8
"""Texts of each domain of the language model; the encoder has `FEW` and 64."""
FEW, MANY = 160, 64
SEGMENT = 15
"""Texts of the probe that the way between two models is judged by."""


def cohorts(seeds: Sequence[int]) -> Iterator[evidence.Cell]:
    """Those of one round."""
    for seed in seeds:
        yield from (evidence.Cell("icd10", skew, seed) for skew in evidence.SKEWS)
        yield evidence.Cell(evidence.LANGUAGE, "domains", seed)


def run(
    cell: evidence.Cell, home: Path, size: evidence.Size, most: int = PAIRS
) -> dict[str, Any]:
    """A cohort's pairs: figures, and what each method's merge loses.

    A drop is how much higher the two clients' loss is than with each one's own model,
    on the mean of both.

    Args:
        cell: which cohort.
        home: where its training is kept.
        size: how much is trained, where it is not kept yet, and judged.
        most: pairs.
    """
    begun, settings = time.process_time(), evidence.config(cell, size)
    if cell.preset == evidence.LANGUAGE:
        more = replace(settings.data, test_examples=5 * (JUDGED + PROBE) + 20)
        settings = replace(settings, data=more)
    cohort = Cohort(settings)
    cohort.remembered(home / evidence.kept(cell, settings))
    given, names = cohort.arrivals(evidence.DENSE), cohort.names
    solos, probe = cohort.solos(given), public(cohort)
    segment = probe.take(np.arange(min(SEGMENT, len(probe))))
    figures = _tables(cohort, compare.compare(given), solos, probe)
    own = {n: losses(cohort, one, [n])[n] for n, one in solos.items()}
    places = list(combinations(range(len(names)), 2))
    order = keyed.permutation(keyed.key("pairs", cell.seed), len(places))
    rows = []
    for one, other in (places[n] for n in sorted(order[:most].tolist())):
        two = names[one], names[other]
        row = {name: round(told[one][other], 5) for name, told in figures.items()}
        ends = solos[two[0]], solos[two[1]]
        found = probes.barrier(cohort.base, ends, segment, settings)
        row["barrier"] = round(found["barrier"], 5)
        alone = [own[name] for name in two]
        some = [arrival for arrival in given if arrival.name in two]
        for text in METHODS:
            merged = losses(cohort, cohort.merged(some, text), two)
            row[f"drop {text}"] = round((sum(merged.values()) - sum(alone)) / 2, 5)
        rows.append(row)
    return {
        "preset": cell.preset,
        "skew": cell.skew,
        "seed": cell.seed,
        "pairs": rows,
        "cpu_seconds": round(time.process_time() - begun, 1),
        "versions": {name: version(name) for name in ("fedelta", "torch", "numpy")},
    }


def public(cohort: Cohort) -> Examples:
    """A probe of texts that judge nothing: the last of the test set."""
    test, labels = cohort.task.test, cohort.task.test.labels
    if cohort.config.model.task != "causal-lm":
        return test.take(np.arange(max(0, len(test) - MANY), len(test)))
    last = [np.flatnonzero(labels == one)[-PROBE:] for one in set(labels.tolist())]
    return test.take(np.sort(np.concatenate(last)))


def losses(cohort: Cohort, update: Change, names: Sequence[str]) -> dict[str, float]:
    """Of some clients, nats: on the first test texts, or on those of their domains."""
    if cohort.config.model.task != "causal-lm":
        found = cohort.judged(update, FEW)
        return {name: found[f"loss/{name}"] for name in names}
    test, domains = cohort.task.test, list(cohort.task.labels)
    own = [np.flatnonzero(test.labels == domains.index(name)) for name in names]
    some = test.take(np.sort(np.concatenate([places[:JUDGED] for places in own])))
    with trial(cohort.base, update):
        found = evaluate(cohort.base, some, cohort.config)
    return {name: math.log(found[f"perplexity/{name}"]) for name in names}


def _tables(
    cohort: Cohort, told: Mapping[str, Any], solos: Mapping[str, Any], probe: Examples
) -> dict[str, Any]:
    """[K][K] tables by name: of updates, and of hidden states of a public probe."""
    states = []
    for update in solos.values():
        with trial(cohort.base, update):
            states.append(probes.states(cohort.base, probe.texts, cohort.config))
    return {name: told[name] for name in TABLES} | probes.divergence(states)


def show(rows: foresights.Rows) -> None:
    """Print the tables."""
    for name, text in foresights.tables(rows):
        print(f"\n{name}\n{text}")


def main() -> None:
    """Run what is not there yet, keep it, print the tables, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="four pairs, few texts")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cells", type=int, default=0, help="run so many more")
    parser.add_argument("--limit", type=float, default=1e9, help="start none after, s")
    parser.add_argument("--home", type=Path, default=Path("build/evidence"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.quick:
        cell = evidence.Cell("icd10", "mild", 0)
        show([run(cell, given.home, evidence.QUICK, most=4)])
        return
    rows, begun = quality.read(given.results), time.monotonic()
    done = {(row["preset"], row["skew"], row["seed"]) for row in rows}
    grid = cohorts(range(given.seeds))
    left = [one for one in grid if (one.preset, one.skew, one.seed) not in done]
    for cell in left[: given.cells]:
        if time.monotonic() - begun > given.limit:
            break
        rows.append(run(cell, given.home, evidence.Size()))
        quality.write(given.results, rows)
        print(cell.preset, cell.skew, cell.seed, rows[-1]["cpu_seconds"], flush=True)
    show(rows)
    if rows and not given.cells:
        foresights.draw(rows)


if __name__ == "__main__":
    main()

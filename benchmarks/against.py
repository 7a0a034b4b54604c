"""fedelta against peers on the same work: ``python benchmarks/against.py``.

Three rounds of the encoder preset's clients under strong skew by Flower's own
strategies (`flowertunes.py`) and by runs of ours; and the one-shot clients of
`evidence.py` merged by peft, mergekit and by us (`strangers.py`). The same data, seeds
and local training for all. What is found is kept in ``results/against.json``;
``--cells N`` runs N more. Prints the tables of docs/findings.md.
"""

import argparse
import ctypes
import gc
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

from fedelta.benchmarks import evidence, exhibits, flowertunes, quality, strangers
from fedelta.benchmarks.masters import peak
from fedelta.benchmarks.trainings import Cohort
from fedelta.protocols.settings import Config
from fedelta.server.evidence.floors import resident
from fedelta.server.simulations import simulate

RESULTS = Path(__file__).parent / "results" / "against.json"
CELL = evidence.Cell("icd10", "strong", 0, evidence.ROUNDS)
DENSE, PRESET = ("fp32", "fp32"), ("", "")
OURS = {
    "fedelta fedavg(), dense": ("fedavg()", DENSE),
    "fedelta fedavg(), preset's formats": ("fedavg()", PRESET),
    "fedelta ties(0.8), preset's formats": ("ties(density=0.8)", PRESET),
}
ONCE = "one-shot merges"
VERSIONS = ("fedelta", "flwr", "peft", "mergekit", "torch", "numpy")


def settings(seed: int) -> Config:
    """A federation of several rounds."""
    return evidence.config(replace(CELL, seed=seed), evidence.Size())


def ours(seed: int, name: str) -> dict[str, float]:
    """A run of ours, with everything that a run does."""
    recipe, (up, down) = OURS[name]
    found = settings(seed)
    wire = found.wire if not up else replace(found.wire, up=up, down=down)
    with tempfile.TemporaryDirectory() as folder:
        config = replace(
            found,
            run=replace(found.run, out=str(Path(folder) / "run")),
            merge=replace(found.merge, recipe=recipe),
            wire=wire,
            eval=replace(found.eval, local=False, every=1000),
        )
        summary = simulate(config, workers=0)
    sizes = {f"bytes_{way}": float(summary["bytes"][way]) for way in ("up", "down")}
    final: dict[str, float] = summary["metrics"]["final"]
    return final | sizes


def flower(seed: int, name: str) -> dict[str, float]:
    """A run by one of Flower's strategies."""
    return flowertunes.tuned(Cohort(settings(seed)), name)


def once(seed: int, home: Path) -> Iterator[dict[str, Any]]:
    """The one-shot clients' replies merged by everybody."""
    cell = replace(CELL, seed=seed, rounds=1)
    cohort = Cohort(evidence.config(cell, evidence.Size()))
    steps = cohort.config.train.steps
    cohort.remembered(home / f"icd10-strong-{seed}-{steps}.safetensors", further=True)
    given = [replace(one, share=1) for one in cohort.arrivals(evidence.DENSE)]
    sent = sum(len(data) for data in cohort.sealed(evidence.DENSE).values())
    for name, merge in strangers.merges(cohort, given).items():
        merge()  # what is compiled or imported at first is no part of it
        forgotten = resting()
        begun = time.process_time()
        update = merge()
        seconds = time.process_time() - begun
        taken = {"merge_s": seconds, "merge_mb": (resident() - forgotten) / 1e6}
        found = cohort.judged(update) | taken
        yield {"name": name, "seed": seed, "kind": ONCE, "bytes_up": sent} | kept(found)


def resting() -> int:
    """Bytes that this process holds; from here on its peak is counted anew.

    What was freed is given back first, so that what is taken again is counted.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    return resident()


def kept(found: Mapping[str, float]) -> dict[str, float]:
    """What is kept of a measurement."""
    return {n: round(v, 5) for n, v in found.items() if not n.startswith("loss/")}


def run(seed: int, name: str, home: Path) -> list[dict[str, Any]]:
    """The rows of one name and seed; of all one-shot merges at once."""
    if name == ONCE:
        return list(once(seed, home))
    begun = time.process_time()
    found = ours(seed, name) if name in OURS else flower(seed, name)
    found = {**found, "run_s": time.process_time() - begun, "run_mb": float(peak())}
    return [{"name": name, "seed": seed, "kind": "rounds"} | kept(found)]


def apart(seed: int, name: str, home: Path) -> list[dict[str, Any]]:
    """The same in a process of its own, which has imported what all import."""
    import peft  # noqa: F401
    import torch  # noqa: F401

    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=lambda: queue.put(run(seed, name, home)))
    child.start()
    child.join()
    if child.exitcode:
        raise SystemExit(f"{name}, seed {seed}: ended with {child.exitcode}")
    rows: list[dict[str, Any]] = queue.get()
    return rows


def names() -> list[str]:
    """All that is compared."""
    return [ONCE, *flowertunes.STRATEGIES, *OURS]


def federations(rows: exhibits.Rows) -> str:
    """Runs of several rounds."""
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "kB up": lambda row: f"{row['bytes_up'] / 1e3:.0f}",
        "kB down": lambda row: f"{row['bytes_down'] / 1e3:.0f}",
        "CPU s": lambda row: f"{row['run_s']:.0f}",
        "process, MB": lambda row: f"{row['run_mb']:.0f}",
    }
    return _table([r for r in rows if r["kind"] == "rounds"], "Flower FedAvg", columns)


def merges(rows: exhibits.Rows) -> str:
    """One-shot merges."""
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "kB of a client": lambda row: f"{row['bytes_up'] / 8e3:.0f}",
        "merge, CPU s": lambda row: f"{row['merge_s']:.2f}",
        "merge, MB": lambda row: f"{row['merge_mb']:.1f}" if "merge_mb" in row else "",
    }
    return _table([r for r in rows if r["kind"] == ONCE], "fedelta fedavg()", columns)


def _table(
    rows: exhibits.Rows,
    basis: str,
    columns: Mapping[str, Callable[[Mapping[str, Any]], str]],
) -> str:
    """By name: accuracy, points above a basis with the same seed, and columns."""
    at = {row["seed"]: row["accuracy"] for row in rows if row["name"] == basis}
    body = []
    for name in dict.fromkeys(row["name"] for row in rows):
        held = [row for row in rows if row["name"] == name]
        numbers = [key for key, value in held[0].items() if isinstance(value, float)]
        told = {key: [row[key] for row in held if key in row] for key in numbers}
        mean = {key: fmean(values) for key, values in told.items()}
        mean |= {"bytes_up": fmean(row["bytes_up"] for row in held)}
        gaps = [r["accuracy"] - at[r["seed"]] for r in held if r["seed"] in at]
        first = [exhibits.code(name), str(len(held)), f"{100 * mean['accuracy']:.1f}"]
        body.append([*first, exhibits.told(gaps), *(c(mean) for c in columns.values())])
    head = ["by", "seeds", "accuracy", f"above {basis}, points", *columns]
    return exhibits.table(head, body)


def tables(rows: exhibits.Rows) -> Iterator[tuple[str, str]]:
    """By mark in docs/findings.md."""
    if rows:
        yield "federations", federations(rows)
        yield "merges", merges(rows)


def main(wanted: Sequence[str] | None = None) -> None:
    """Run what is asked for, keep it, print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", type=int, default=0, help="run so many more")
    parser.add_argument("--limit", type=float, default=1e9, help="start none after, s")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--home", type=Path, default=Path("build/evidence"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args(wanted)
    rows, begun = quality.read(given.results), time.monotonic()
    done = {(row["seed"], ONCE if row["kind"] == ONCE else row["name"]) for row in rows}
    grid = [(seed, name) for seed in range(given.seeds) for name in names()]
    for seed, name in [one for one in grid if one not in done][: given.cells]:
        if time.monotonic() - begun > given.limit:
            break
        versions = {"versions": {o: version(o) for o in VERSIONS if find_spec(o)}}
        rows += [row | versions for row in apart(seed, name, given.home)]
        quality.write(given.results, rows)
    for _, text in tables(rows):
        print(f"\n{text}")


if __name__ == "__main__":
    main()

"""Quality against epsilon: ``python benchmarks/privacy.py --cells 4``.

Every cell is a whole federation: level (a client, or a record), epsilon, number of
clients, seed. The noise multiplier is the least whose rounds keep the budget. What is
in the results (``--results``) is not run again; ``--quick`` takes the tiny model and
two cells; ``--plot FILE`` draws what there is. Needs the extra ``privacy``.

With few clients client-level noise drowns the signal: the grid goes up to as many as
the data gives, to say from how many on it does not.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fedelta.benchmarks.quality import read, write
from fedelta.client.accountants import multiplier
from fedelta.client.clippings import sampling
from fedelta.client.data import load as read_task
from fedelta.protocols.settings import Config
from fedelta.server.runs import load
from fedelta.server.simulations import simulate
from fedelta.tests import tiny

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "privacy.json"
DELTA = 1e-5
CLIPS = {"client": 0.5, "record": 0.5}
EPSILONS = (8.0, 3.0, 1.0)


@dataclass(frozen=True, slots=True)
class Cell:
    """One federation.

    Attributes:
        model: "tiny", or a preset's name.
        level: "none", "client" or "record".
        epsilon: the budget of all rounds together; 0: no noise.
        clients: how many there are.
        seed: of everything but the noise.
    """

    model: str
    level: str
    epsilon: float
    clients: int
    seed: int = 0


def grid(*, quick: bool) -> Iterator[Cell]:
    """All cells; those without noise first."""
    if quick:
        yield Cell("tiny", "none", 0.0, 8)
        yield Cell("tiny", "record", 8.0, 8)
        yield Cell("tiny", "client", 8.0, 64)
        return
    for seed in range(3):
        for clients in (8, 64, 256):
            yield Cell("icd10", "none", 0.0, clients, seed)
            for epsilon in EPSILONS:
                yield Cell("icd10", "client", epsilon, clients, seed)
        for epsilon in EPSILONS:
            yield Cell("icd10", "record", epsilon, 8, seed)


def settings(cell: Cell, folder: Path) -> Config:
    """A cell's run, its noise calibrated to its budget."""
    given: dict[str, dict[str, Any]] = {
        "run": {"seed": cell.seed, "out": str(folder / "run")},
        "data": {"clients": cell.clients},
        "lora": {"space": "frozen-a"},
        "merge": {"weights": "uniform"},
        "wire": {"up": "fp16"},
        "eval": {"local": False, "every": 1000},
    }
    if cell.model == "tiny":
        given["data"] |= {"source": str(tiny.data(folder, 640)), "alpha": 100.0}
        given["train"] = {"steps": 8, "learning_rate": 2e-2}
        return _noisy(tiny.config(folder, **given), cell)
    keys = [
        f"{table}.{key}={json.dumps(value)}"
        for table, values in given.items()
        for key, value in values.items()
    ]
    return _noisy(load(preset=cell.model, overrides=keys), cell)


def _noisy(config: Config, cell: Cell) -> Config:
    if cell.level == "none":
        return config
    rounds, rate, times = config.run.rounds, 1.0, config.run.rounds
    if cell.level == "record":
        smallest = min(len(one) for one in read_task(config).clients.values())
        rate, times = sampling(config, smallest), rounds * config.train.steps
    made = replace(
        config.privacy,
        mode=cell.level,  # type: ignore[arg-type]
        clip=CLIPS[cell.level],
        noise_multiplier=multiplier(cell.epsilon, DELTA, rate, times),
        epsilon=cell.epsilon,
        delta=DELTA,
    )
    return replace(config, privacy=made)


def run(cell: Cell) -> dict[str, Any]:
    """One federation: what it was worth before and after, and what it spent."""
    with tempfile.TemporaryDirectory() as name:
        config = settings(cell, Path(name))
        summary = simulate(config, workers=0)
    metrics = summary["metrics"]
    return asdict(cell) | {
        "base": metrics["base"]["accuracy"],
        "final": metrics["final"]["accuracy"],
        "spent": summary.get("privacy", {}).get("epsilon", 0.0),
        "noise_multiplier": config.privacy.noise_multiplier,
        "clip": config.privacy.clip,
        "rounds": summary["rounds"],
        "test_examples": int(metrics["final"]["examples"]),
    }


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line a cell, over its seeds."""
    held: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        key = (row["model"], row["level"], row["clients"], row["epsilon"])
        held[key].append(row)
    for (model, level, clients, epsilon), some in sorted(held.items()):
        final = statistics.fmean(one["final"] for one in some)
        base = statistics.fmean(one["base"] for one in some)
        noise = some[0]["noise_multiplier"]
        yield (
            f"{model:6} {level:7} {clients:4} clients  epsilon {epsilon:g}  "
            f"noise {noise:.3g}  accuracy {base:.3f} to {final:.3f}  "
            f"({len(some)} seeds)"
        )


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Accuracy over epsilon, a line a level and number of clients."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    names = sorted({(row["level"], row["clients"]) for row in rows})
    for level, clients in names:
        some = [r for r in rows if (r["level"], r["clients"]) == (level, clients)]
        spots = sorted((row["epsilon"], row["final"]) for row in some)
        if level == "none":
            axes.axhline(spots[0][1], linestyle=":", label=f"no noise, {clients}")
        else:
            axes.plot(*zip(*spots, strict=True), "o-", label=f"{level}, {clients}")
    axes.set(xlabel=f"epsilon (delta {DELTA:g})", ylabel="accuracy", xscale="log")
    axes.legend(fontsize="small")
    figure.savefig(path)
    plt.close(figure)


def main() -> int:
    """Run what was asked for, print what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=0, help="run so many more")
    parser.add_argument("--quick", action="store_true", help="the tiny model")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    keys = asdict(Cell("", "", 0.0, 0))
    done = [{key: row[key] for key in keys} for row in read(given.results)]
    todo = [one for one in grid(quick=given.quick) if asdict(one) not in done]
    for cell in todo[: given.cells]:
        write(given.results, [*read(given.results), row := run(cell)])
        print(json.dumps(row), flush=True)
    rows = read(given.results)
    for line in table(rows):
        print(line)
    if given.plot and rows:
        plot(rows, given.plot)
    print(f"{max(0, len(todo) - given.cells)} cells are left to run")
    return 0


if __name__ == "__main__":
    sys.exit(main())

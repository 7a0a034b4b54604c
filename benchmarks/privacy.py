"""Quality against epsilon: ``python benchmarks/privacy.py --cells 4``.

Every cell is a whole federation: level (a client, or a record), epsilon, number of
clients, seed. The noise multiplier is the least whose rounds keep the budget. What is
in the results (``--results``) is not run again; ``--quick`` takes the tiny model and
three cells; ``--plot FILE`` draws what there is. Needs the extra ``privacy``.

The encoder preset in small: 3 rounds, adapters of rank 4 in its last two layers, A
frozen, texts of 16 tokens, 500 test texts. At client level some 64 clients are asked a
round, 2 steps of 8 texts each, however many there are: a cell costs the same with 64
clients and with 1024, and what more clients bring is that each is asked less often.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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
CLIPS = {"client": 1.0, "record": 0.5}
EPSILONS = (8.0, 3.0, 1.0)
Multipliers = Mapping[tuple[float, float, int], float]
"""By epsilon, rate and number of releases."""
SEEDS, INSTITUTIONS, MOST, ASKED = 3, 8, 1024, 64
COUNTS = ((MOST, INSTITUTIONS, 64), (256,))
"""How many clients, the most telling first."""
SMALL: dict[str, dict[str, Any]] = {
    "run": {"rounds": 3},
    "data": {"test_examples": 500},
    "train": {"max_length": 16, "decay": "none"},
    "lora": {
        "rank": 4,
        "alpha": 8.0,
        "targets": [
            f"layer.{place}.attention.self.{name}"
            for place in (4, 5)
            for name in ("query", "value")
        ],
    },
    "wire": {"down": "fp16"},
}
"""What differs from the encoder preset in every cell."""
LEVELS: dict[str, dict[str, dict[str, Any]]] = {
    "client": {
        "data": {"alpha": 1.0},
        "train": {"steps": 2, "batch": 8, "learning_rate": 8e-3},
    },
    "record": {
        "data": {"partition": "iid"},
        "train": {"steps": 4, "batch": 64, "learning_rate": 8e-3},
    },
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One federation.

    Attributes:
        model: "tiny", or a preset's name.
        level: "client" or "record".
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
    """All cells, seed by seed; epsilon 0 is the same federation without noise."""
    if quick:
        yield Cell("tiny", "client", 0.0, 16)
        yield Cell("tiny", "client", 8.0, 16)
        yield Cell("tiny", "record", 8.0, 8)
        return
    for counts in COUNTS:
        for seed in range(SEEDS):
            for clients in counts:
                for epsilon in (0.0, *EPSILONS):
                    level = "record" if clients == INSTITUTIONS else "client"
                    if epsilon or clients in (INSTITUTIONS, MOST):
                        yield Cell("icd10", level, epsilon, clients, seed)


def settings(cell: Cell, folder: Path, known: Multipliers) -> Config:
    """A cell's run, its noise calibrated to its budget."""
    tiniest = cell.model == "tiny"
    given: dict[str, dict[str, Any]] = {
        "run": {"seed": cell.seed, "out": str(folder / "run")},
        "data": {"clients": cell.clients},
        "lora": {"space": "frozen-a"},
        "merge": {"weights": "uniform"},
        "wire": {"up": "fp16"},
        "eval": {"local": False, "every": 1000},
    }
    if tiniest:
        given["data"] |= {"source": str(tiny.data(folder, 640)), "alpha": 100.0}
        given["train"] = {"steps": 8, "learning_rate": 2e-2}
        return _noisy(tiny.config(folder, **given), cell, known)
    for more in (SMALL, LEVELS[cell.level]):
        for table, keys in more.items():
            given[table] = given.get(table, {}) | keys
    if cell.level == "client" and not cell.epsilon:
        given["round"] = {"clients": min(ASKED, cell.clients)}
    sets = [
        f"{table}.{key}={value if isinstance(value, str) else json.dumps(value)}"
        for table, settled in given.items()
        for key, value in settled.items()
    ]
    return _noisy(load(preset=cell.model, overrides=sets), cell, known)


def _noisy(config: Config, cell: Cell, known: Multipliers) -> Config:
    if not cell.epsilon:
        return config
    asked = min(1.0, ASKED / cell.clients) if cell.level == "client" else 1.0
    made = replace(
        config.privacy,
        mode=cell.level,  # type: ignore[arg-type]
        clip=CLIPS[cell.level],
        rate=asked,
        epsilon=cell.epsilon,
        delta=DELTA,
    )
    rate, times = _sampled(replace(config, privacy=made))
    found = known.get((cell.epsilon, rate, times))
    found = found or multiplier(cell.epsilon, DELTA, rate, times)
    return replace(config, privacy=replace(made, noise_multiplier=found))


def _sampled(config: Config) -> tuple[float, int]:
    """The rate of what is released, and how often it is."""
    rounds = config.run.rounds
    if config.privacy.mode != "record":
        return config.privacy.rate, rounds
    task = read_task(config)
    smallest = min(len(task.split(name)[0]) for name in task.clients)
    return sampling(config, smallest), rounds * config.train.steps


def run(cell: Cell, rows: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """One federation: what it was worth before and after, and what it spent.

    Args:
        cell: which.
        rows: of others, whose multipliers are not looked for again.
    """
    known = {
        (one["epsilon"], one["rate"], one["releases"]): one["noise_multiplier"]
        for one in rows
    }
    with tempfile.TemporaryDirectory() as name:
        config = settings(cell, Path(name), known)
        summary = simulate(config, workers=0)
    metrics, (rate, times) = summary["metrics"], _sampled(config)
    return asdict(cell) | {
        "base": metrics["base"]["accuracy"],
        "final": metrics["final"]["accuracy"],
        "spent": summary.get("privacy", {}).get("epsilon", 0.0),
        "noise_multiplier": config.privacy.noise_multiplier,
        "clip": config.privacy.clip,
        "rate": rate,
        "releases": times,
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
        lows = [one["final"] for one in some]
        yield (
            f"{model:6} {level:7} {clients:4} clients  epsilon {epsilon:g}  "
            f"noise {noise:.3g}  accuracy {base:.3f} to {final:.3f}  "
            f"({min(lows):.3f} to {max(lows):.3f}, {len(some)} seeds)"
        )


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Accuracy over epsilon, a line a level and number of clients, seeds as dots."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2))
    names = sorted({(row["level"], row["clients"]) for row in rows})
    for place, (level, clients) in enumerate(names):
        some = [r for r in rows if (r["level"], r["clients"]) == (level, clients)]
        told, colour = f"{level} level, {clients} clients", f"C{place}"
        at = {e: [r["final"] for r in some if r["epsilon"] == e] for e in EPSILONS}
        there = sorted((e, found) for e, found in at.items() if found)
        if there:
            means = [(e, statistics.fmean(found)) for e, found in there]
            axes.plot(*zip(*means, strict=True), "-", color=colour, label=told)
            dots = [(e, one) for e, found in there for one in found]
            axes.plot(*zip(*dots, strict=True), ".", color=colour)
        if bare := [r["final"] for r in some if not r["epsilon"]]:
            calm = statistics.fmean(bare)
            axes.axhline(calm, ls=":", color=colour, label=f"{told}, no noise")
    base = statistics.fmean(row["base"] for row in rows)
    axes.axhline(base, ls="--", color="grey", label="before any round")
    axes.set(xlabel=f"epsilon (delta {DELTA:g})", ylabel="accuracy", xscale="log")
    axes.set_xticks(EPSILONS, [f"{one:g}" for one in EPSILONS])
    axes.minorticks_off()
    axes.legend(fontsize="x-small")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
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
        rows = read(given.results)
        write(given.results, [*rows, row := run(cell, rows)])
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

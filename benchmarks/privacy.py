"""Quality against epsilon: ``python benchmarks/privacy.py --cells 4``.

Every cell is a whole federation: level (a client, or a record), epsilon, number of
clients, seed. The noise multiplier is the least whose rounds keep the budget. What is
in the results (``--results``) is not run again; ``--quick`` takes the tiny model and
three cells; ``--plot FILE`` draws what there is. Needs the extra ``privacy``.

The encoder preset in small: 3 rounds, adapters of rank 4 in its last two layers, A
frozen, texts of 16 tokens, 500 test texts. At client level some 64 clients are asked a
round, 2 steps of 8 texts each, however many there are: a cell costs the same with 64
clients and with 1024, and what more clients bring is that each is asked less often.

``--model smollm2-domains`` is the language model's preset in small: rank 4 in its last
layers' down projections, A frozen, texts of 32 tokens, 100 test texts; its five data
owners, or the same texts dealt to 256 clients.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fedelta.benchmarks.epsilons import (
    ACCURACY,
    DELTA,
    EPSILONS,
    PERPLEXITY,
    Cell,
    plot,
    table,
)
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
ENCODER, LANGUAGE = "icd10", "smollm2-domains"
METRICS = {LANGUAGE: PERPLEXITY}
CLIPS = {
    (ENCODER, "client"): 1.0,
    (ENCODER, "record"): 0.5,
    ("tiny", "client"): 1.0,
    ("tiny", "record"): 0.5,
    (LANGUAGE, "client"): 8.0,
    (LANGUAGE, "record"): 1.0,
}
Tables = Mapping[str, Mapping[str, Any]]
Multipliers = Mapping[tuple[float, float, int], float]
"""By epsilon, rate and number of releases."""
SEEDS, INSTITUTIONS, OWNERS, MOST, ASKED = 3, 8, 5, 1024, 64
ALL = (0.0, *EPSILONS)
GRIDS = {
    ENCODER: (
        (
            ("client", MOST, ALL),
            ("record", INSTITUTIONS, ALL),
            ("client", 64, EPSILONS),
        ),
        (("client", 256, EPSILONS),),
    ),
    LANGUAGE: (
        (("record", OWNERS, ALL),),
        (("client", 256, ALL), ("client", OWNERS, EPSILONS[:1])),
    ),
}
"""Levels, numbers of clients, epsilons; the most telling first."""


def _places(modules: Sequence[str]) -> dict[str, Any]:
    return {"rank": 4, "alpha": 8.0, "targets": list(modules)}


SMALL: Mapping[str, Tables] = {
    ENCODER: {
        "run": {"rounds": 3},
        "data": {"test_examples": 500},
        "train": {"max_length": 16, "decay": "none"},
        "lora": _places(
            [
                f"layer.{place}.attention.self.{name}"
                for place in (4, 5)
                for name in ("query", "value")
            ]
        ),
        "wire": {"down": "fp16"},
    },
    LANGUAGE: {
        "data": {"test_examples": 100},
        "train": {"max_length": 32, "packing": False, "decay": "none"},
    },
}
"""What differs from a preset in every cell."""
DOWN = "layers.{}.mlp.down_proj"
LEVELS: Mapping[tuple[str, str], Tables] = {
    (ENCODER, "client"): {
        "data": {"alpha": 1.0},
        "train": {"steps": 2, "batch": 8, "learning_rate": 8e-3},
    },
    (ENCODER, "record"): {
        "data": {"partition": "iid"},
        "train": {"steps": 4, "batch": 64, "learning_rate": 8e-3},
    },
    (LANGUAGE, "client"): {
        "run": {"rounds": 2},
        "data": {"partition": "iid"},
        "train": {"steps": 1, "batch": 4, "learning_rate": 0.15},
        "lora": _places([DOWN.format(29)]),
    },
    (LANGUAGE, "record"): {
        "run": {"rounds": 1},
        "train": {"steps": 3, "batch": 32, "learning_rate": 0.12},
        "lora": _places([DOWN.format(28), DOWN.format(29)]),
    },
}


def grid(model: str) -> Iterator[Cell]:
    """All cells of a model, seed by seed; epsilon 0: the same without noise."""
    if model == "tiny":
        yield Cell("tiny", "client", 0.0, 16)
        yield Cell("tiny", "client", 8.0, 16)
        yield Cell("tiny", "record", 8.0, 8)
        return
    for some in GRIDS[model]:
        for seed in range(SEEDS):
            for level, clients, epsilons in some:
                for epsilon in epsilons:
                    yield Cell(model, level, epsilon, clients, seed)


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
    own = "record" if cell.clients in (INSTITUTIONS, OWNERS) else cell.level
    for more in (SMALL[cell.model], LEVELS[cell.model, own]):
        for name, keys in more.items():
            given[name] = given.get(name, {}) | dict(keys)
    if cell.level == "client" and not cell.epsilon:
        given["round"] = {"clients": min(ASKED, cell.clients)}
    sets = [
        f"{name}.{key}={value if isinstance(value, str) else json.dumps(value)}"
        for name, settled in given.items()
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
        clip=CLIPS[cell.model, cell.level],
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
    metric = METRICS.get(cell.model, ACCURACY)
    return asdict(cell) | {
        "metric": metric,
        "base": metrics["base"][metric],
        "final": metrics["final"][metric],
        "spent": summary.get("privacy", {}).get("epsilon", 0.0),
        "noise_multiplier": config.privacy.noise_multiplier,
        "clip": config.privacy.clip,
        "rate": rate,
        "releases": times,
        "rounds": summary["rounds"],
        "test_examples": int(metrics["final"]["examples"]),
    }


def main() -> int:
    """Run what was asked for, print what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=0, help="run so many more")
    parser.add_argument("--limit", type=float, default=1e9, help="start none after, s")
    parser.add_argument("--model", default=ENCODER, choices=GRIDS)
    parser.add_argument("--quick", action="store_true", help="the tiny model")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    model = "tiny" if given.quick else given.model
    keys = asdict(Cell("", "", 0.0, 0))
    done = [{key: row[key] for key in keys} for row in read(given.results)]
    todo = [one for one in grid(model) if asdict(one) not in done]
    begun = time.monotonic()
    for cell in todo[: given.cells]:
        if time.monotonic() - begun > given.limit:
            break
        rows = read(given.results)
        write(given.results, [*rows, row := run(cell, rows)])
        print(json.dumps(row), flush=True)
    rows = read(given.results)
    for line in table(rows):
        print(line)
    if given.plot and rows:
        plot(rows, given.plot)
    done = [{key: row[key] for key in keys} for row in rows]
    print(f"{sum(asdict(one) not in done for one in todo)} cells are left to run")
    return 0


if __name__ == "__main__":
    sys.exit(main())

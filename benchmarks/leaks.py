"""What uploads and sums tell of a client: ``python benchmarks/leaks.py --cells 4``.

Four attacks (`memberships.py`, `vocabularies.py`, `rebuilds.py`, `canaries.py`), each
on the upload of one client and on the sum of all, after each defence (`uploads.py`):
whose record was trained on (LiRA), which words were in the texts, which token stood
where, what secret stood there. A cell trains once and judges all of that. What is in
the results (``--results``) is not run again; ``--quick`` takes the tiny models;
``--image FILE`` draws what there is.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedelta.benchmarks import memberships, rebuilds, vocabularies
from fedelta.benchmarks.memberships import Scale, Stage
from fedelta.benchmarks.quality import read, write
from fedelta.benchmarks.uploads import DEFENCES, Defence
from fedelta.protocols.settings import Config
from fedelta.server.runs import load
from fedelta.tests import tiny

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "leaks.json"
MEMBERS, WORDS, CANARIES = "members", "words", "canaries"
TEXTS, ADAM = "texts", "texts (AdamW)"
"""Texts, after steps of SGD or of AdamW."""
LESS = Scale(models=8, records=48, others=7, clients=4, texts=64)
"""Of the reduced form."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One training that is attacked.

    Attributes:
        attack: "members", "words", "canaries", "texts" or "texts (AdamW)".
        model: "tiny", for texts "tiny-lm" too, or a preset's name.
        steps: of each client's training.
        epsilon: of each client's records; 0: no noise in the training.
        seed: of everything.
    """

    attack: str
    model: str
    steps: int
    epsilon: float = 0.0
    seed: int = 0


def grid(*, quick: bool) -> Iterator[Cell]:
    """All cells, one seed of each first."""
    if quick:
        yield Cell(MEMBERS, "tiny", 24)
        yield Cell(MEMBERS, "tiny", 24, 1.0)
        yield Cell(WORDS, "tiny", 8)
        yield Cell(CANARIES, "tiny", 60)
        yield Cell(TEXTS, "tiny", 1)
        yield Cell(TEXTS, "tiny-lm", 1)
        yield Cell(TEXTS, "tiny", 4)
        yield Cell(ADAM, "tiny", 4)
        return
    for seed in range(3):
        yield Cell(MEMBERS, "icd10", 8, seed=seed)
        yield Cell(CANARIES, "smollm2-domains", 8, seed=seed)
        yield Cell(WORDS, "icd10", 8, seed=seed)
        yield Cell(MEMBERS, "icd10", 8, 8.0, seed)
        yield Cell(MEMBERS, "icd10", 24, seed=seed)
    yield Cell(TEXTS, "icd10", 1)
    yield Cell(TEXTS, "smollm2-domains", 1)
    yield Cell(ADAM, "icd10", 4)


def settings(cell: Cell, folder: Path) -> Config:
    """A cell's run."""
    if cell.attack in (TEXTS, ADAM):
        optimizer = "sgd" if cell.attack == TEXTS else "adamw"
        return rebuilds.settings(cell.model, cell.steps, optimizer, cell.seed, folder)
    full = cell.attack == WORDS
    given: dict[str, dict[str, Any]] = {
        "run": {"seed": cell.seed},
        "train": {"steps": cell.steps, "mode": "full" if full else "lora"},
        "lora": {"space": "frozen-a"},
        "wire": {"up": "fp16"},
    }
    if cell.model == "tiny":
        if cell.attack == CANARIES:
            given["train"] |= {"learning_rate": 3e-2, "max_length": 96}
            given["lora"] |= {"rank": 8, "alpha": 16.0}
            return tiny.lm_config(folder, **given)
        given["data"] = {"source": str(tiny.data(folder, 640)), "test_examples": 64}
        given["train"] |= {"learning_rate": 1e-3 if full else 2e-2}
        return tiny.config(folder, **given)
    rate = 1e-4 if full else 3e-3 if cell.attack == CANARIES else 0.0
    given["train"] |= {"learning_rate": rate} if rate else {}
    keys = [f"{t}.{k}={v}" for t, values in given.items() for k, v in values.items()]
    return load(preset=cell.model, overrides=keys)


def run(
    cell: Cell, done: Sequence[str] = (), cache: Path | None = None
) -> Iterator[dict[str, Any]]:
    """Train, and attack: a row a view and defence.

    Args:
        cell: what is attacked.
        done: defences that are left out.
        cache: where trainings are kept; None: nowhere.
    """
    with tempfile.TemporaryDirectory() as name:
        config = settings(cell, Path(name))
        defences = [one for one in defences_of(cell) if one.name not in done]
        said = "-".join(str(one) for one in asdict(cell).values())
        where = cache / said if cache else None
        if cell.attack == CANARIES:
            from fedelta.benchmarks.canaries import Nest

            found = Nest(config, cache=where).attack(defences)
        elif cell.attack in (TEXTS, ADAM):
            found = rebuilds.attack(config, defences, where)
        elif cell.attack == WORDS:
            stage = Stage(config, vocabularies.PART, cache=where)
            found = vocabularies.attack(stage, defences)
        else:
            scale = LESS if cell.model == "tiny" else Scale()
            stage = Stage(config, scale, cell.epsilon, where)
            found = memberships.attack(stage, defences)
        for row in found:
            yield asdict(cell) | row


def defences_of(cell: Cell) -> tuple[Defence, ...]:
    """What a cell is judged after: where training is private, that alone."""
    return DEFENCES[:1] if cell.epsilon else DEFENCES


def lacking(cell: Cell, rows: list[dict[str, Any]]) -> bool:
    """Whether a view or a defence of a cell is not in the results."""
    mine = [row for row in rows if asdict(cell).items() <= row.items()]
    return len(mine) < 2 * len(defences_of(cell))


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line an attack, model, view and defence: means over seeds."""
    held: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    keys = ("attack", "model", "steps", "view", "epsilon", "defence")
    for row in rows:
        held[tuple(row[key] for key in keys)].append(row)
    for (attack, model, steps, view, epsilon, defence), some in held.items():
        said = f"{attack:8} {model:15} {steps:3} steps  {view:6} "
        said += f"{f'epsilon {epsilon:g}' if epsilon else defence:16}"
        for name in (one for one in some[0] if one not in {*keys, "seed"}):
            said += f"  {name} {_mean(some, name):.3f}"
        yield f"{said}  ({len(some)} seeds)"


SHOWN = (
    (MEMBERS, "odds_auc", "members: AUC", (0.5, 1.0)),
    (WORDS, "recovered", "words: share found", (0.0, 1.0)),
    (TEXTS, "texts_1", "a text: rebuilt whole", (0.0, 1.0)),
    (CANARIES, "exposure_8", "canary, 8 times: bits", (0.0, 6.0)),
)
"""An attack, what is drawn of it, its title, and from where, a guess, to where."""


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """What each attack reaches, upload beside sum, by defence; tiny models above."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    kinds = {"tiny models": True, "real models": False}
    there = {
        name: [row for row in rows if row["model"].startswith("tiny") == small]
        for name, small in kinds.items()
    }
    drawn = {name: some for name, some in there.items() if some}
    size = (2 + 2.6 * len(SHOWN), 0.4 + 3.1 * len(drawn))
    figure, axes = plt.subplots(
        len(drawn), len(SHOWN), figsize=size, sharey=True, squeeze=False
    )
    names = [one.name for one in DEFENCES]
    for line, (kind, some) in zip(axes, drawn.items(), strict=True):
        for axis, (attack, key, title, limits) in zip(line, SHOWN, strict=True):
            told = [r for r in some if r["attack"] == attack and not r["epsilon"]]
            _bars(axis, told, key, limits[0])
            axis.set(title=title, xlim=limits)
        line[0].set_yticks(range(len(names)), names)
        line[0].set_ylabel(kind)
    axes[0][0].invert_yaxis()
    axes[0][0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def _bars(axis: Any, told: list[dict[str, Any]], key: str, guess: float) -> None:
    """Means over seeds of the first of the cells, from what a guess reaches."""
    first = {name: told[0][name] for name in ("model", "steps")} if told else {}
    for shift, view, color in ((-0.2, "upload", "C0"), (0.2, "sum", "C1")):
        for place, name in enumerate(one.name for one in DEFENCES):
            wanted = first | {"view": view, "defence": name}
            some = [row for row in told if wanted.items() <= row.items()]
            label = None if place else view
            long = _mean(some, key) - guess if some else 0.0
            axis.barh(place + shift, long, 0.38, left=guess, color=color, label=label)


def _name(row: dict[str, Any]) -> list[Any]:
    keys = (*asdict(Cell("", "", 0)), "view", "defence")
    return [row[key] for key in keys]


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return statistics.fmean(row[key] for row in rows if key in row) if rows else 0.0


def main() -> int:
    """Run what was asked for, print what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=0, help="run so many more")
    parser.add_argument("--attack", default="", help="only cells of this one")
    parser.add_argument("--quick", action="store_true", help="the tiny models")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--cache", type=Path, help="keep trainings here")
    parser.add_argument("--image", type=Path)
    given = parser.parse_args()
    rows = read(given.results)
    todo = [one for one in grid(quick=given.quick) if lacking(one, rows)]
    todo = [one for one in todo if given.attack in ("", one.attack)]
    for cell in todo[: given.cells]:
        mine = [row for row in rows if asdict(cell).items() <= row.items()]
        done = [row["defence"] for row in mine if row["view"] == "sum"]
        for row in run(cell, done, given.cache):
            rows = [*(one for one in rows if _name(one) != _name(row)), row]
            write(given.results, rows)
            print(json.dumps(row), flush=True)
    for line in table(rows):
        print(line)
    if given.image and rows:
        plot(rows, given.image)
    print(f"{max(0, len(todo) - given.cells)} cells are left to run")
    return 0


if __name__ == "__main__":
    sys.exit(main())

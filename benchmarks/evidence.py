"""Which recipe when, and what tells of trouble: ``python benchmarks/evidence.py``.

Clients of a preset train once for each skew and seed; every recipe merges the same
sealed replies (dense and sparse) and is judged on the same test texts. Runs of several
rounds share their first and then train anew, by recipe and format. What is found is
kept, row by row, in ``benchmarks/results/evidence.json`` with seeds and versions, and a
grid that was stopped goes on. Without ``--cells`` this prints what is there and draws
it. ``--quick`` has one small cohort, few recipes and few texts.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from fedelta.benchmarks import exhibits, quality
from fedelta.benchmarks.sequels import FISHER, Sequel
from fedelta.benchmarks.trainings import Cohort
from fedelta.protocols.settings import Config
from fedelta.server.runs import load
from fedelta.server.variants import Variant

RESULTS = Path(__file__).parent / "results" / "evidence.json"
RECIPES = (
    "fedavg()",
    "fedavg() @ factors",
    "fedavg() @ residual",
    "fedavg() | scale(2.0)",
    "task_arithmetic(gain=0.3)",
    "ties(density=0.2)",
    "ties(density=0.8)",
    "ties(density=0.2) @ factors",
    "dare(density=0.5)",
    "dare_ties(density=0.5)",
    "della()",
    "breadcrumbs()",
    "min_agree(members=3)",
    "model_stock()",
    "tsv(gain=0.3)",
    "iso_c(gain=0.3)",
    "grouped(fedavg(), ties(density=0.8))",
    FISHER,
)
FEW = ("fedavg()", "ties(density=0.2)", "model_stock()")
TWO = ("fedavg()", "ties(density=0.2)")
"""Of several rounds, in the reduced form."""
SKEWS = {"iid": "", "mild": "1.0", "strong": "0.1"}
"""Dirichlet's alpha, where labels are dealt by it."""
DENSE, SPARSE = exhibits.WIRES
ROUNDS = 3
LANGUAGE = exhibits.LANGUAGE
SPOKEN = dict.fromkeys(exhibits.SPOKEN, 2) | {"domains": ROUNDS}
"""Rounds of the language model by skew."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One piece of the grid.

    Attributes:
        preset: "icd10" or "smollm2-domains".
        skew: one of `SKEWS`; of `SPOKEN` for the language model.
        seed: of everything random.
        rounds: 1: all recipes on one training; else one recipe in several rounds.
        wire: of their replies; a single round has all.
        recipe: that one.
    """

    preset: str
    skew: str
    seed: int
    rounds: int = 1
    wire: str = ""
    recipe: str = ""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is trained and judged.

    Attributes:
        steps, texts: of a round's training; judged.
    """

    steps: int = 16
    texts: int = 400


QUICK = Size(steps=2, texts=48)


def cells(seeds: Sequence[int]) -> Iterator[Cell]:
    """The whole grid, what tells most first."""
    for seed in seeds:
        yield from (Cell("icd10", skew, seed) for skew in SKEWS)
        yield from (Cell(LANGUAGE, skew, seed) for skew in SPOKEN)
    for wire, seed in product((DENSE, SPARSE), seeds):
        chosen = [one for one in RECIPES if wire == DENSE or one != FISHER]
        for skew, text in product(SKEWS, chosen):
            yield Cell("icd10", skew, seed, ROUNDS, wire, text)
        for (skew, rounds), text in product(SPOKEN.items(), chosen):
            yield Cell(LANGUAGE, skew, seed, rounds, wire, text)


def config(cell: Cell, size: Size) -> Config:
    """The settings of a cell's clients."""
    if cell.preset != "icd10":
        return load(
            preset=cell.preset,
            overrides=[
                *_dealt(cell.skew),
                "data.clients=5",
                f"run.seed={cell.seed}",
                f"run.rounds={cell.rounds}",
                f"train.steps={4 if cell.rounds > 1 else 8}",
                "train.max_length=64",
                "data.test_examples=40",
                "lora.targets=['q_proj', 'v_proj']",
                "eval.local=false",
            ],
        )
    return load(
        preset="icd10",
        overrides=[
            *_dealt(cell.skew),
            f"run.seed={cell.seed}",
            f"run.rounds={cell.rounds}",
            f"train.steps={min(6, size.steps) if cell.rounds > 1 else size.steps}",
            f"data.test_examples={size.texts}",
            "model.dtype=bfloat16",
        ],
    )


def _dealt(skew: str) -> list[str]:
    """How a skew deals texts to clients; "domains" is the preset's own way."""
    if skew not in SKEWS:
        return []
    if skew == "iid":
        return ["data.partition=iid"]
    return ["data.partition=dirichlet", f"data.alpha={SKEWS[skew]}"]


def run(
    cell: Cell, recipes: Sequence[str], home: Path, size: Size, opened: list[Sequel]
) -> dict[str, Any]:
    """One cell's row.

    Args:
        cell: which.
        recipes: that a single round is merged by.
        home: where a single round's training is kept.
        size: how much is trained and judged.
        opened: the cohort whose first round is shared; another cell's takes its place.
    """
    begun = time.process_time()
    settings = config(cell, size)
    if not opened or opened[0].cohort.config != settings:
        opened[:] = [Sequel(Cohort(settings))]
    cohort = opened[0].cohort
    row: dict[str, Any] = asdict(cell) | {
        "texts": len(cohort.task.test),
        "steps": settings.train.steps,
        "clients": len(cohort.names),
    }
    if cell.rounds > 1:
        told = [_short(one) for one in opened[0].told(cell.recipe, cell.wire)]
        row |= {"by_round": told, "recipes": {cell.wire: {cell.recipe: told[-1]}}}
    else:
        cohort.remembered(home / kept(cell, settings), further=FISHER in recipes)
        row |= {"before": _short(cohort.judged({}))}
        row |= _merges(cohort, recipes)
        solos = cohort.solos(cohort.arrivals(DENSE))
        row["solo"] = {name: _short(cohort.judged(one)) for name, one in solos.items()}
    return row | {
        "cpu_seconds": round(time.process_time() - begun, 1),
        "versions": {name: version(name) for name in ("fedelta", "torch", "numpy")},
    }


def _short(found: Mapping[str, float]) -> dict[str, float]:
    """What is kept of a judgement."""
    wanted = ("accuracy", "loss", "macro_f1", "worst", "perplexity")
    own = {name: found[name] for name in found if name.startswith("perplexity/")}
    kept = {name: found[name] for name in wanted if name in found} | own
    return {name: round(value, 5) for name, value in kept.items()}


def _merges(cohort: Cohort, recipes: Sequence[str]) -> dict[str, Any]:
    """Every recipe on the same replies, by format."""
    found: dict[str, Any] = {"recipes": {}, "reply": {}}
    for wire in (DENSE, SPARSE):
        plain = cohort.arrivals(wire)
        sizes = [len(data) for data in cohort.sealed(wire).values()]
        found["reply"][wire] = round(sum(sizes) / len(sizes))
        found["recipes"][wire] = {}
        for text in recipes:
            told = text == FISHER
            if told and wire != DENSE:
                continue
            given = cohort.arrivals(wire, further=True) if told else plain
            chosen = Variant.read(text, "product")
            update = cohort.merged(given, chosen.recipe, chosen.space)
            found["recipes"][wire][text] = _short(cohort.judged(update))
    return found


def kept(cell: Cell, settings: Config) -> str:
    """The file that has a single round's training."""
    return f"{cell.preset}-{cell.skew}-{cell.seed}-{settings.train.steps}.safetensors"


def main() -> None:
    """Run what is not there yet, keep it, print the tables, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cells", type=int, default=0, help="run so many more")
    parser.add_argument("--limit", type=float, default=1e9, help="start none after, s")
    parser.add_argument("--preset", default="", help="of this preset alone")
    parser.add_argument("--home", type=Path, default=Path("build/evidence"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.quick:
        exhibits.show(list(quick(given.home)))
        return
    begun, opened = time.monotonic(), list[Sequel]()
    for _ in range(given.cells):
        left = lacking(quality.read(given.results), given.seeds)
        left = [cell for cell in left if given.preset in cell.preset]
        if not left or time.monotonic() - begun > given.limit:
            break
        row = run(left[0], RECIPES, given.home, Size(), opened)
        quality.write(given.results, [*quality.read(given.results), row])
        print(left[0], row["cpu_seconds"], flush=True)
    rows = quality.read(given.results)
    exhibits.show(rows)
    if not given.cells:
        exhibits.draw(rows)


def quick(home: Path) -> Iterator[dict[str, Any]]:
    """A small cohort's rows: one round by few recipes, and more by two of them."""
    opened: list[Sequel] = []
    yield run(Cell("icd10", "mild", 0), FEW, home, QUICK, opened)
    for text in TWO:
        cell = Cell("icd10", "mild", 0, 2, SPARSE, text)
        yield run(cell, FEW, home, QUICK, opened)


def lacking(rows: Sequence[Mapping[str, Any]], seeds: int) -> list[Cell]:
    """The grid's cells that have no row."""
    done = {tuple(row[name] for name in asdict(Cell("", "", 0))) for row in rows}
    grid = cells(range(seeds))
    return [cell for cell in grid if tuple(asdict(cell).values()) not in done]


if __name__ == "__main__":
    main()

"""Attacks times defences: ``python benchmarks/attacks.py``.

Every cell is a federation among honest and hostile clients (`fights.py`,
`adversaries.py`) on an encoder's last layer, what is below computed once
(`arenas.py`). This prints what was found; ``--seconds N`` runs more of the grid before,
and appends every cell to ``--log``, where it goes on the next time; ``--keep`` takes
what is there into ``--results``, docs/defences.md and its picture. ``--quick`` takes
the reduced grid, on a tiny model; ``--model icd10 --part whole`` some cells of the
encoder preset itself.

Columns: clean accuracy without attackers, that on the classes which fewest honest
clients hold (what a defence costs knowledge that few have), and under each attack the
accuracy that is left, or for attacks with a trigger how often it works.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from fedelta.benchmarks.arenas import Arena, arena
from fedelta.benchmarks.fights import Cell, fight
from fedelta.benchmarks.sieges import cells
from fedelta.benchmarks.tolls import condense, draw, prices, spread, table
from fedelta.protocols.settings import Config
from fedelta.server.runs import load
from fedelta.tests import tiny

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "attacks.json"
IMAGE = HERE.parent / "docs" / "images" / "attacks.png"
PAGE = HERE.parent / "docs" / "defences.md"
MARK = "<!-- what python benchmarks/attacks.py prints -->\n"
FOLD = "<details>\n<summary>Every attack under every defence, by share</summary>"
LOG = HERE.parent / "build" / "attacks.jsonl"
LOWER = 5
"""Layers of the encoder's six that stay as they are on the model "upper"."""
UPPER = [
    "data.clients=10",
    "data.test_examples=1000",
    "data.examples=1500",
    "train.steps=12",
    "model.dtype=bfloat16",
]


def settings(model: str, folder: Path) -> Config:
    """The runs' settings: the tiny model on tiny texts, or the encoder preset."""
    if model != "tiny":
        return load(preset="icd10", overrides=UPPER)
    return tiny.config(
        folder,
        data={"clients": 10, "source": str(tiny.data(folder, 400))},
        train={"steps": 12, "learning_rate": 2e-2},
    )


def place(config: Config, cell: Cell, depth: int = 0) -> Arena:
    """Where a cell is fought out."""
    return arena(
        replace(
            config,
            run=replace(config.run, seed=cell.seed),
            data=replace(config.data, alpha=cell.alpha),
            lora=replace(config.lora, space=cell.space),  # type: ignore[arg-type]
        ),
        depth,
    )


def run(
    config: Config, model: str, todo: Iterable[Cell], seconds: float, log: Path
) -> None:
    """Run cells, and append what they come to, until time is up."""
    ends = time.monotonic() + seconds

    @lru_cache(maxsize=1)
    def held(space: str, alpha: float, seed: int) -> Arena:
        cell = Cell("", "", 0.0, space, alpha, seed)
        return place(config, cell, LOWER if model == "upper" else 0)

    log.parent.mkdir(parents=True, exist_ok=True)
    for cell in todo:
        if time.monotonic() > ends:
            return
        begun = time.process_time()
        found = fight(held(cell.space, cell.alpha, cell.seed), cell)
        spent = round(time.process_time() - begun, 3)
        row = asdict(cell) | {"model": model} | found | {"cpu_seconds": spent}
        with log.open("a") as file:
            print(json.dumps(row), file=file)


def read(results: Path, log: Path) -> list[dict[str, Any]]:
    """What was run before, a row a cell and seed."""
    kept = json.loads(results.read_text()) if results.exists() else []
    lines = log.read_text().splitlines() if log.exists() else []
    return [*spread(kept), *(json.loads(line) for line in lines)]


def page(text: str, rows: list[dict[str, Any]]) -> str:
    """The page with its tables, between two marks, as the rows have them."""
    before, _, after = text.split(MARK)
    lines = "\n".join((*prices(rows), "", FOLD, *table(rows), "", "</details>"))
    return f"{before}{MARK}{lines}\n\n{MARK}{after}"


def main() -> int:
    """Run what was asked for, print what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.0, help="run so long")
    parser.add_argument("--quick", action="store_true", help="the reduced grid")
    parser.add_argument("--model", default="upper", choices=("upper", "icd10"))
    parser.add_argument("--part", default="", help="once, gauges, rounds or whole")
    parser.add_argument("--keep", action="store_true", help="write results and plot")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--log", type=Path, default=LOG)
    given = parser.parse_args()
    model = "tiny" if given.quick else given.model
    keys = (*asdict(Cell("", "", 0.0)), "model")
    done = {tuple(row[key] for key in keys) for row in read(given.results, given.log)}
    part = given.part or ("quick" if given.quick else "")
    todo = [cell for cell in cells(part) if (*asdict(cell).values(), model) not in done]
    print(f"{len(todo)} cells are left to run")
    if given.seconds:
        with tempfile.TemporaryDirectory() as name:
            config = settings(model, Path(name))
            run(config, model, todo, given.seconds, given.log)
    rows = condense(read(given.results, given.log))
    if given.keep:
        text = ",\n".join(json.dumps(row) for row in rows)
        given.results.write_text(f"[\n{text}\n]\n")
        PAGE.write_text(page(PAGE.read_text(), rows))
        draw(rows, IMAGE)
    for line in (*prices(rows), *table(rows)):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())

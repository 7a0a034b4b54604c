"""Quality against bytes on the encoder preset: ``python benchmarks/quality.py``.

Every cell of a grid (`grids.py`) is a whole federation, a minute and a half on one
core: formats up and down, with and without error feedback, recipes, AdamW and SGD.
What is in the results (``--results``, benchmarks/results/quality.json) is not run
again, so this prints and draws what is there; ``--cells N`` runs N more of the grid,
``--few`` takes the reduced one.

Prints the Pareto front and the cheapest setting within 1 % of what dense FedAvg gains,
with its bytes both ways beside those of plain LoRA FedAvg (all factors as float32).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fedelta.benchmarks.fronts import plot, show
from fedelta.benchmarks.grids import FEW, Cell, cells

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "quality.json"
IMAGE = HERE.parent / "docs" / "images" / "quality.png"


def run(cell: Cell, folder: Path) -> dict[str, Any]:
    """One federation: its metric before and after, its bytes, energy of replies."""
    command = [sys.executable, "-m", "fedelta.server.cli", "simulate", "--preset"]
    command += ["icd10", "--json", "--quiet", "--workers", "0", "--out", str(folder)]
    command += [word for one in cell.sets for word in ("--set", one)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    summary = json.loads(done.stdout)
    base, final = (summary["metrics"][name]["accuracy"] for name in ("base", "final"))
    record = (folder / "record.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in record]
    replies = [one for one in lines if one["kind"] == "contribution"]
    energies = [one["metrics"]["wire_energy"] for one in replies]
    sizes = summary["bytes"]
    return cell.key | {
        "base": base,
        "final": final,
        "gain": round(final - base, 6),
        "energy": round(sum(energies) / len(energies), 5),
        "reply": round(sum(one["bytes"] for one in replies) / len(replies)),
        "bytes_up": sizes["up"],
        "bytes_down": sizes["down"],
        "bytes": sizes["up"] + sizes["down"],
        "plain": 2 * sizes["up_dense_fp32"],
        "rounds": summary["rounds"],
        "test_examples": int(summary["metrics"]["final"]["examples"]),
        "model_digest": summary["model_digest"],
        "versions": summary["environment"]["versions"],
    }


def read(path: Path) -> list[dict[str, Any]]:
    """What was run before."""
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return found


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """One row a line."""
    text = ",\n".join(json.dumps(row) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".part")
    fresh.write_text(f"[\n{text}\n]\n")
    fresh.replace(path)


def lacking(rows: list[dict[str, Any]], *, few: bool) -> list[Cell]:
    """The grid's cells that have no result."""
    done = [{n: row.get(n, one) for n, one in Cell("").key.items()} for row in rows]
    grid = FEW if few else tuple(dict.fromkeys(cells()))
    return [cell for cell in grid if cell.key not in done]


def main() -> int:
    """Run what was asked for, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=0, help="run so many more")
    parser.add_argument("--few", action="store_true", help="of the reduced grid")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--image", type=Path, default=IMAGE)
    given = parser.parse_args()
    todo = lacking(read(given.results), few=given.few)
    for cell in todo[: given.cells]:
        with tempfile.TemporaryDirectory() as name:
            row = run(cell, Path(name) / "run")
        print(json.dumps(row), flush=True)
        write(given.results, [*read(given.results), row])
    rows = read(given.results)
    print(f"{len(rows)} federations; {max(0, len(todo) - given.cells)} are left to run")
    if not rows:
        return 0
    show(rows)
    plot(rows, given.image)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What enters the root with and without regions, as the run's record has it.

Real regions on the tiny encoder (every weight trained), two of them, one round, with
more and more institutions. Flat: every reply travels to the root. Handed on: each
region's replies in one parcel. States: one sum a region. Merged: one finished merge a
region, by `grouped`.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from fedelta.benchmarks.scenarios import warm
from fedelta.protocols.settings import Config
from fedelta.server import records

WIRES = ("fp16", "sign256")
GROUPED = "grouped(fedavg(), fedavg(), by='region')"
WAYS: dict[str, dict[str, Any]] = {
    "flat": {},
    "handed on": {},
    "states": {"tree": "regions"},
    "merged": {"tree": "regions", "recipe": GROUPED},
}


def config(root: Path, out: Path, count: int, wire: str, merge: Any) -> Config:
    """One round of `count` institutions in two regions."""
    from fedelta.tests import tiny

    return tiny.config(
        out,
        model={"id": str(tiny.model(root))},
        data={"source": str(tiny.data(root, 1024)), "partition": "iid"},
        run={"rounds": 1},
        train={"mode": "full", "steps": 1},
        wire={"up": wire, "down": "fp16"},
        merge=merge,
        eval={"local": False, "where": "none"},
        clients=[
            {"name": f"c{n:03}", "region": f"region-{n % 2}"} for n in range(count)
        ],
    )


def entered(out: Path) -> tuple[int, int]:
    """Bytes into and out of the root in training, from its record."""
    up = down = 0
    for line in records.read(out / "record.jsonl"):
        if line["kind"] == "contribution":
            up, down = up + line["bytes"], down + line["down"]
        if line.get("what") == "regions":
            tolls = line["clients"].values()
            up += sum(one["up"] for one in tolls)
            down += sum(one["down"] for one in tolls)
    return up, down


def measure(root: Path, count: int, wire: str, way: str) -> tuple[int, int, str]:
    """Bytes in and out of the root, and the model that it came to."""
    from fedelta.server.simulations import simulate
    from fedelta.tests.server.regions.trees import Tree

    out = root / f"{wire}-{count}-{way}"
    given = config(root, out, count, wire, WAYS[way])
    if way == "flat":
        summary = simulate(given, workers=0)
        return *entered(Path(given.run.out)), str(summary["model_digest"])
    with Tree(given, out) as tree:
        summary = tree.run()
        return *entered(tree.folder("")), str(summary["model_digest"])


def main() -> int:
    """Print the table; 0 if whatever must be equal is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[4, 16, 64])
    asked = parser.parse_args()
    warm()
    good = True
    print(f"{'wire':8} {'clients':>7} {'way':10} {'KiB in':>9} {'KiB out':>9}  of flat")
    with tempfile.TemporaryDirectory(prefix="regions-") as temporary:
        for wire in WIRES:
            for count in asked.counts:
                flat, digest = 0, ""
                for way in WAYS:
                    up, down, found = measure(Path(temporary), count, wire, way)
                    flat, digest = flat or up, digest or found
                    good &= found == digest or way == "merged"
                    print(
                        f"{wire:8} {count:7} {way:10} {up / 1024:9.1f} "
                        f"{down / 1024:9.1f}  {up / flat:7.3f}",
                        flush=True,
                    )
    print("the models are", "equal, bit for bit" if good else "NOT EQUAL")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

"""Merges beside their floor and beside other libraries: one command, one table.

    python benchmarks/merge.py                     all of it, an hour and more
    python benchmarks/merge.py --quick             a small model, a minute
    python benchmarks/merge.py --sizes 33M --clients 8 --forms dense --plots out/

Every figure stands beside the floor of the same bytes, measured in the same process:
one pass that reads all that goes in and writes what comes out (for sealed payloads
also that of their inflated bytes, with inflating taken off). One thread unless a column
says otherwise; CPU seconds, wall beside them; `memory` is the most that was held beside
inputs and output, in models of float32.
"""

import argparse
import gc
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedelta.aggregators.base import Key, Member
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.reductions import flat, merged
from fedelta.benchmarks.floors import Cost, cost, floor
from fedelta.benchmarks.models import SHAPES, Floats, vectors
from fedelta.benchmarks.rivals import find, rivals, run
from fedelta.protocols.codec import Context, Header, Payload, decode, encode
from fedelta.protocols.vectors import Contribution, TaskVector

KEY = Key("00ff", 1)
FORMS = ("dense", "0.01", "0.05", "0.2", "dare")
METHODS = {
    "dense": {
        "mean": "fedavg",
        "ties": "ties(1.0)",
        "ties 0.2": "ties(0.2)",
        "dare 0.1": "dare(0.1)",
        "dare_ties 0.1": "dare_ties(0.1)",
    },
    "sparse": {"mean": "fedavg", "ties": "ties(1.0)"},
}
PEERS = {
    "mean": ("mean", 1.0),
    "ties": ("ties", 1.0),
    "ties 0.2": ("ties", 0.2),
    "dare 0.1": ("dare", 0.1),
    "dare_ties 0.1": ("dare_ties", 0.1),
}
DISTINCT = 8
"""Payloads that are made; more clients than that send the same ones again."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        size: of the model.
        form: "dense", or a density of sealed bytes at gaps, or "dare".
        clients: how many.
        method: what was merged.
        by: whose code.
        floor: the floor's CPU seconds.
        cpu: seconds.
        wall: seconds.
        times: CPU seconds over the floor's.
        bare: for payloads: without inflating, over the floor of inflated bytes.
        threads: wall seconds on all cores.
        memory: what was held beside inputs and output, in models.
    """

    size: str
    form: str
    clients: int
    method: str
    by: str
    floor: float
    cpu: float
    wall: float
    times: float
    bare: float | None = None
    threads: float | None = None
    memory: float | None = None


def members(given: Sequence[Contribution]) -> list[Member]:
    """Clients that count alike."""
    return [Member(f"client-{k:03d}", one) for k, one in enumerate(given)]


def sealed(vector: TaskVector, wire: str, name: str) -> Payload:
    """A payload as a server has it after its check."""
    header = Header("00ff", 1, name, "00", vector.layout.fingerprint)
    data = encode(vector, wire, header)
    found = decode(data, Context(vector.layout, "00ff", 1, "00", wire))
    if not isinstance(found, Payload):
        raise TypeError(found)
    return found


def held(call: Callable[[], object]) -> float:
    """The most bytes that a call held."""
    gc.collect()
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return float(peak)


def ours(
    given: Sequence[Contribution], text: str, out: Floats, threads: int = 1
) -> None:
    """One merge, written whole."""
    flat(merged(recipe(text), members(given), KEY), threads, out)


def measured(
    given: Sequence[Contribution], text: str, least: Cost, repeats: int
) -> dict[str, Any]:
    """What one of our merges takes."""
    layout = given[0].layout
    out = np.zeros(layout.size, np.float32)
    ours(given, text, out)  # compiles
    one = cost(lambda: ours(given, text, out), repeats)
    many = cost(lambda: ours(given, text, out, os.cpu_count() or 1), 1)
    return {
        "cpu": one.cpu,
        "wall": one.wall,
        "floor": least.cpu,
        "times": one.cpu / least.cpu,
        "threads": many.wall,
        "memory": held(lambda: ours(given, text, out)) / (4 * layout.size),
    }


def dense(size: str, clients: int, options: argparse.Namespace) -> Iterator[Row]:
    """Merges of tensors in memory, ours and others'."""
    given = vectors(size, clients)
    out = np.empty(given[0].layout.size, np.float32)
    arrays = [array for one in given for array in one.tensors.values()]
    once = floor(arrays, out)
    for method, text in METHODS["dense"].items():
        if options.methods and method not in options.methods:
            continue
        least = cost(once, options.repeats)
        yield Row(
            size, "dense", clients, method, "fedelta",
            **measured(given, text, least, options.repeats),
        )  # fmt: skip
        if clients <= options.peers:
            yield from others(size, given, method, least)


def others(
    size: str, given: Sequence[TaskVector], method: str, least: Cost
) -> Iterator[Row]:
    """The same merge by other libraries, once."""
    import torch

    torch.set_num_threads(1)
    name, density = PEERS[method]
    for by, merge in rivals(name, density, len(given)).items():
        call = run(merge, given)
        with torch.no_grad():
            found = cost(call, 1)
        yield Row(
            size, "dense", len(given), method, by,
            least.cpu, found.cpu, found.wall, found.cpu / least.cpu,
        )  # fmt: skip


def sparse(
    size: str, form: str, clients: int, options: argparse.Namespace
) -> Iterator[Row]:
    """Merges of sealed payloads."""
    wire = "dare(density=0.05)" if form == "dare" else f"sparse(density={form})"
    few = min(DISTINCT, clients)
    made = [sealed(v, wire, f"c{k}") for k, v in enumerate(vectors(size, few))]
    given = [made[k % few].clone() for k in range(clients)]
    out = np.empty(given[0].layout.size, np.float32)
    chunks = range(len(given[0].layout.chunks))

    def inflate() -> None:
        for one in given:
            for chunk in chunks:
                one.streams.load(chunk)

    planes = [p for one in made for c in chunks for p in one.streams.load(c)]
    loose = [planes[k % len(planes)] for k in range(len(planes) * clients // few)]
    for method, text in METHODS["sparse"].items():
        if options.methods and method not in options.methods:
            continue
        least = cost(floor([one.streams.frames for one in given], out), options.repeats)
        wide = cost(floor(loose, out), options.repeats)
        zstd = cost(inflate, options.repeats)
        found = measured(given, text, least, options.repeats)
        bare = (found["cpu"] - zstd.cpu) / wide.cpu
        yield Row(size, form, clients, method, "fedelta", bare=bare, **found)


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """All that was asked for."""
    for size in options.sizes:
        for form in options.forms:
            for clients in options.clients:
                if form == "dense":
                    yield from dense(size, clients, options)
                else:
                    yield from sparse(size, form, clients, options)


HEAD = (
    "model  form   K  merge          by        floor s    CPU s   wall s  x floor"
    "  x bare  all cores s  memory"
)


def line(row: Row) -> str:
    """A row as text."""

    def number(value: float | None, form: str) -> str:
        return (
            format(value, form) if value is not None else " " * (len(format(0.0, form)))
        )

    return (
        f"{row.size:5} {row.form:>6} {row.clients:3}  {row.method:13}  {row.by:8}"
        f" {row.floor:8.4f} {row.cpu:8.3f} {row.wall:8.3f} {row.times:8.2f}"
        f" {number(row.bare, '7.2f')}  {number(row.threads, '11.3f')}"
        f"  {number(row.memory, '6.3f')}"
    )


def plotted(found: Sequence[Row], folder: Path) -> None:
    """One picture a model: multiples of the floor by clients."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    for size in dict.fromkeys(row.size for row in found):
        figure, axes = plt.subplots(figsize=(8, 5))
        lines: dict[str, list[tuple[int, float]]] = {}
        for row in found:
            if row.size == size:
                name = f"{row.by} {row.method}, {row.form}"
                lines.setdefault(name, []).append((row.clients, row.times))
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
        axes.set(xlabel="clients", ylabel="multiples of the floor (CPU)", yscale="log")
        axes.set_title(f"Merging {size} parameters")
        axes.legend(fontsize=7, ncols=2)
        figure.tight_layout()
        for kind in ("svg", "png"):
            figure.savefig(folder / f"merge-{size}.{kind}")
        plt.close(figure)


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small model, a minute")
    parser.add_argument("--sizes", nargs="+", choices=SHAPES, default=["33M", "135M"])
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--clients", nargs="+", type=int, default=[2, 8, 32, 64])
    parser.add_argument("--methods", nargs="+", choices=METHODS["dense"], default=[])
    parser.add_argument("--peers", type=int, default=8, help="most clients for others")
    parser.add_argument("--peer-path", type=Path, help="where unpacked libraries lie")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the rows here too")
    parser.add_argument("--plots", type=Path, help="write pictures into this folder")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.clients = ["3M"], [2, 16]
        options.forms = ["dense", "0.05", "dare"]
    find(options.peer_path)
    print(HEAD)
    found = []
    for row in rows(options):
        print(line(row), flush=True)
        found.append(row)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in found], indent=1))
    if options.plots:
        plotted(found, options.plots)


if __name__ == "__main__":
    main()

"""Merges beside their floor and beside other libraries: one command, one table.

    python benchmarks/merge.py                     all of it, an hour and more
    python benchmarks/merge.py --quick             a small model, a minute
    python benchmarks/merge.py --sizes 33M --clients 8 --forms dense
    python benchmarks/merge.py --resume --seconds 600      goes on where it stopped

Every figure stands beside the floor of the same bytes, measured in the same process:
one pass that reads all that goes in and writes what comes out. For sealed payloads
`inflated` leaves out inflating and has the floor of the inflated bytes. One thread
unless a column says otherwise; CPU seconds, wall beside them; `all` is wall and CPU
seconds on all cores, and what part of the threads' time they waited for a core that
others had; `memory` is the most that
was held beside inputs and output, in models of float32; `differs` counts elements that
are not what ours are, of ours what the definition does not say. Where that is more than
rounding explains, the exit status is 1; it never follows from a time.
"""

import argparse
import gc
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from fedelta.aggregators.base import Key, Member
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.reductions import flat, merged
from fedelta.benchmarks.floors import Cost, cost, floor, waited
from fedelta.benchmarks.methods import METHODS, MORE, PEERS
from fedelta.benchmarks.models import SHAPES, Floats, vectors
from fedelta.benchmarks.rivals import find, rivals, run
from fedelta.benchmarks.tables import HEAD, Row, drawn, read, written
from fedelta.protocols.codec import Context, Header, Payload, decode, encode
from fedelta.protocols.vectors import Contribution, Layout, TaskVector

KEY = Key("00ff", 1)
FORMS = ("dense", "0.01", "0.05", "0.2", "dare")
DISTINCT = 8
"""Payloads that are made; more clients than that send the same ones again."""


CHECKED = 1 << 26
"""Elements of all clients together up to which ours is held to the definition."""
PART = 1 << 20


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
    flat(merged(recipe(text), members(given), KEY, threads), threads, out)


def defined(
    method: str, given: Sequence[Contribution], out: Floats
) -> dict[str, int | None]:
    """How many elements are not what the definition says, where that is quick."""
    layout = given[0].layout
    if method not in ("mean", "ties") or layout.size * len(given) > CHECKED:
        return {}
    rows = np.stack([flat(one) for one in given])
    differs = 0
    for first in range(0, layout.size, PART):
        part = rows[:, first : first + PART].astype(np.float64)
        differs += len(unlike(out[first : first + PART], definition(method, part)))
    return {"differs": differs}


def definition(method: str, rows: Any) -> Any:
    """What the definition says, of float64 [K, n]."""
    if method == "mean":
        return rows.mean(0)
    agree = (np.sign(rows) == np.sign(rows.sum(0))) & (rows != 0)
    return (rows * agree).sum(0) / np.maximum(agree.sum(0), 1)


def unlike(one: Any, other: Any) -> Any:
    """The places of elements that differ by more than rounding."""
    near = 2e-6 * float(np.abs(other).max(initial=0))
    return np.flatnonzero(np.abs(one - other) > near)


def measured(
    given: Sequence[Contribution], text: str, least: Cost, repeats: int, out: Floats
) -> dict[str, Any]:
    """What one of our merges takes; it is left in out."""
    ours(given, text, out)  # compiles
    one = cost(lambda: ours(given, text, out), repeats)
    cores = os.cpu_count() or 1
    many, idle = waited(lambda: ours(given, text, out, cores))
    return {
        "cpu": one.cpu,
        "wall": one.wall,
        "floor": least.cpu,
        "times": one.cpu / least.cpu,
        "threads": many.wall,
        "busy": many.cpu,
        "idle": idle,
        "memory": held(lambda: ours(given, text, out)) / (4 * out.size),
    }


def dense(
    size: str, clients: int, wanted: Sequence[str], options: argparse.Namespace
) -> Iterator[Row]:
    """Merges of tensors in memory, ours and others'."""
    given = vectors(size, clients)
    out = np.empty(given[0].layout.size, np.float32)
    arrays = [array for one in given for array in one.tensors.values()]
    once = floor(arrays, out)
    for method in wanted:
        text = METHODS["dense"].get(method, method)
        least = cost(once, options.repeats)
        found = measured(given, text, least, options.repeats, out)
        found |= defined(method, given, out)
        yield Row(size, "dense", clients, method, "fedelta", **found)
        if clients <= options.peers and method in PEERS:
            yield from others(size, given, method, least, out)


def others(
    size: str, given: Sequence[TaskVector], method: str, least: Cost, ours: Floats
) -> Iterator[Row]:
    """The same merge by other libraries, once."""
    import torch

    torch.set_num_threads(1)
    name, density = PEERS[method]
    layout = given[0].layout
    for by, merge in rivals(name, density, len(given)).items():
        call, made = run(merge, given), {}
        with torch.no_grad():
            found = cost(lambda: made.update(call()), 1)  # noqa: B023 - called at once
        counted = {}
        if not name.startswith("dare"):
            places = compared(layout, made, ours)
            counted = {
                "differs": len(places),
                "allowed": right(method, given, ours, places),
            }
        if density < 1:
            counted["allowed"] = len(layout.names) * len(given)
        yield Row(
            size, "dense", len(given), method, by,
            least.cpu, found.cpu, found.wall, found.cpu / least.cpu, **counted,
        )  # fmt: skip


def compared(layout: Layout, made: Mapping[str, Any], ours: Floats) -> Any:
    """The places of elements of another library's output that are not ours."""
    found, at = [], 0
    for name, size in zip(layout.names, layout.sizes, strict=True):
        theirs = made[name].numpy().reshape(-1)
        found.append(at + unlike(ours[at : at + size], theirs))
        at += size
    return np.concatenate(found)


def right(method: str, given: Sequence[TaskVector], ours: Floats, places: Any) -> int:
    """In how many of these places the definition says what we do.

    Where the masses of both signs are nearly alike, float32 may elect the other one.
    """
    if method not in ("mean", "ties"):
        return 0
    rows = np.stack([flat(one)[places] for one in given]).astype(np.float64)
    near = 2e-6 * float(np.abs(rows).max(initial=0))
    return int(
        np.count_nonzero(np.abs(ours[places] - definition(method, rows)) <= near)
    )


def sparse(
    cell: tuple[str, str, int], wanted: Sequence[str], options: argparse.Namespace
) -> Iterator[Row]:
    """Merges of sealed payloads."""
    size, form, clients = cell
    wire = "dare(density=0.05)" if form == "dare" else f"sparse(density={form})"
    few = min(DISTINCT, clients)
    made = [sealed(v, wire, f"c{k}") for k, v in enumerate(vectors(size, few))]
    given = [made[k % few].clone() for k in range(clients)]
    out = np.empty(given[0].layout.size, np.float32)
    chunks = range(len(given[0].layout.chunks))
    room = np.empty(1 << 23, np.uint8)

    def inflate() -> None:
        for one in given:
            for chunk in chunks:
                one.streams.load_into(chunk, room)

    planes = [p for one in made for c in chunks for p in one.streams.load(c)]
    loose = [planes[k % len(planes)] for k in range(len(planes) * clients // few)]
    for method, text in METHODS["sparse"].items():
        if method not in wanted:
            continue
        least = cost(floor([one.streams.frames for one in given], out), options.repeats)
        wide = cost(floor(loose, out), options.repeats)
        zstd = cost(inflate, options.repeats)
        found = measured(given, text, least, options.repeats, out)
        found["bare"] = (found["cpu"] - zstd.cpu) / wide.cpu
        found |= defined(method, given, out)
        yield Row(size, form, clients, method, "fedelta", **found)


def offered(form: str, options: argparse.Namespace) -> list[str]:
    """What is merged of a form."""
    if form != "dense":
        return [*METHODS["sparse"]]
    return [*METHODS["dense"], *(MORE if options.more or options.methods else ())]


def rows(options: argparse.Namespace, found: Sequence[Row]) -> Iterator[Row]:
    """All that was asked for and is not there."""
    there = {(row.size, row.form, row.clients, row.method) for row in found}
    begun = time.monotonic()
    for size, form, clients in product(options.sizes, options.forms, options.clients):
        wanted = [
            method
            for method in offered(form, options)
            if (size, form, clients, method) not in there
            and (not options.methods or method in options.methods)
        ]
        if not wanted or (
            options.seconds and time.monotonic() - begun > options.seconds
        ):
            continue
        if form == "dense":
            yield from dense(size, clients, wanted, options)
        else:
            yield from sparse((size, form, clients), wanted, options)


def main() -> int:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small model, a minute")
    parser.add_argument("--sizes", nargs="+", choices=SHAPES, default=["33M", "135M"])
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--clients", nargs="+", type=int, default=[2, 8, 16, 32, 64])
    parser.add_argument("--methods", nargs="+", choices=[*METHODS["dense"], *MORE])
    parser.add_argument("--more", action="store_true", help="further recipes, dense")
    parser.add_argument("--peers", type=int, default=8, help="most clients for others")
    parser.add_argument("--peer-path", type=Path, help="where unpacked libraries lie")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--resume", action="store_true", help="keep what --out holds")
    parser.add_argument("--seconds", type=float, help="begin nothing after so many")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/merge"), help="for data and pictures"
    )
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.clients = ["3M"], [2, 16]
        options.forms = ["dense", "0.05", "dare"]
    find(options.peer_path)
    found = read(options.out) if options.resume else []
    print(HEAD)
    for row in rows(options, [*found]):
        print(row.line(), flush=True)
        found.append(row)
        written(found, options.out)
    drawn(found, options.out)
    print(f"{options.out / 'merge.json'}, and a picture a model beside it")
    return int(any(row.wrong for row in found))


if __name__ == "__main__":
    raise SystemExit(main())

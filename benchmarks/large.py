"""A TIES merge of four updates of an 8-billion-coordinate model, from payloads on disk.

    python benchmarks/large.py [--coordinates 8.03e9] [--clients 4] [--density 0.05]

The payloads are sealed and checked like any other; to make them quickly, every tensor
of a client holds the same values (no two clients do). What is merged is written as
bfloat16, to nowhere unless --out names a file.
"""

import argparse
import mmap
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.progress import Progress

from fedelta.aggregators.base import Key, Member
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.reductions import Reduction, merged
from fedelta.aggregators.tensors import rounded
from fedelta.benchmarks.models import normals
from fedelta.protocols.codec import Context, Header, Payload, decode, encode
from fedelta.protocols.containers import pack
from fedelta.protocols.headers import metadata
from fedelta.protocols.tables import Tables, written
from fedelta.protocols.vectors import CHUNK, Layout, TaskVector

Held = tuple[list[Member], list[mmap.mmap]]

PART = 16 * CHUNK
"""Coordinates of a tensor."""

FREED = 64
"""Chunks after which what was read of the files is given back to the system."""


def layout_of(coordinates: float) -> Layout:
    """Tensors of equal size, as many as it takes."""
    count = round(coordinates / PART)
    return Layout.of(
        {f"layers.{i:05d}.weight": (PART // 4096, 4096) for i in range(count)}
    )


def header(client: str, layout: Layout) -> Header:
    """What a payload says of itself."""
    return Header("00ff", 1, client, "00", layout.fingerprint)


def sealed(path: Path, client: str, layout: Layout, wire: str) -> None:
    """Write one client's payload."""
    one = Layout.of({"w": (PART // 4096, 4096)})
    place = int(client[1:]) * 100_003
    values = normals(PART + place)[place:].reshape(one.shapes[0])
    found = decode(
        encode(TaskVector(one, {"w": values}), wire, header(client, one)),
        Context(one, "00ff", 1, "00", wire),
    )
    if not isinstance(found, Payload):
        raise TypeError(found)
    streams, times = found.streams, len(layout.names)
    held = streams.tables
    tables = Tables(
        np.tile(held.chunks, (times, 1)),
        np.tile(held.codes, times),
        np.tile(held.kept, times),
        np.tile(held.told, times),
        held.choices * times,
        np.tile(held.exponents, times),
    )
    arrays = written(tables, streams.wire, streams.version)
    arrays["frames"] = np.tile(streams.frames, times)
    said = header(client, layout)
    said = replace(said, wire=str(streams.wire))
    kept = int(tables.kept.sum())
    path.write_bytes(pack(metadata(said, kept, streams.version, layout), arrays))


def resident() -> tuple[int, int]:
    """Megabytes of memory and of mapped files that this process holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields["RssAnon"].split()[0]) >> 10, int(
        fields["RssFile"].split()[0]
    ) >> 10


def checked(folder: Path, names: list[str], layout: Layout, wire: str) -> Held:
    """Payloads as a server has them after its check, and their maps."""
    members, maps = [], []
    for name in names:
        with (folder / f"{name}.payload").open("rb") as file:
            maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        context = Context(layout, "00ff", 1, "00", wire)
        found = decode(memoryview(maps[-1]), context)
        if not isinstance(found, Payload):
            raise TypeError(found)
        members.append(Member(name, found))
        maps[-1].madvise(mmap.MADV_DONTNEED)
    return members, maps


def merge(held: Held, text: str, path: Path) -> int:
    """Merge chunk by chunk; gives the most megabytes that were resident."""
    members, maps = held
    update = merged(recipe(text), members, Key("00ff", 1))
    if not isinstance(update, Reduction):
        raise TypeError(update)
    layout, most = update.layout, 0
    out = np.empty(CHUNK, np.float32)
    with Progress() as bar, path.open("wb") as sink:
        task = bar.add_task("merging", total=len(layout.chunks))
        for place, chunk in enumerate(layout.chunks):
            first, last = layout.spans[chunk.start], layout.spans[chunk.stop - 1]
            part = out[: last.flat + last.size - first.flat]
            update.fill(chunk, part)
            sink.write(rounded("update", part, "BF16").data)
            if place % FREED == 0:
                most = max(most, sum(resident()))
                for one in maps:
                    one.madvise(mmap.MADV_DONTNEED)
                bar.update(task, completed=place)
        bar.update(task, completed=len(layout.chunks))
    return most


def main() -> None:
    """Make, check, merge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--coordinates", type=float, default=8.03e9)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--density", type=float, default=0.05)
    parser.add_argument("--recipe", default="ties(1.0)")
    parser.add_argument("--folder", type=Path, help="where the payloads go")
    parser.add_argument("--out", type=Path, default=Path(os.devnull))
    options = parser.parse_args()
    layout = layout_of(options.coordinates)
    wire = f"sparse(density={options.density})"
    names = [f"c{k}" for k in range(options.clients)]
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        folder = Path(made)
        for name in names:
            sealed(folder / f"{name}.payload", name, layout, wire)
        total = sum(one.stat().st_size for one in folder.iterdir())
        print(f"{layout.size:,} coordinates, {total / 1e9:.2f} GB of payloads")
        before, wall = time.process_time(), time.perf_counter()
        held = checked(folder, names, layout, wire)
        middle = time.process_time()
        most = merge(held, options.recipe, options.out)
    merging = time.process_time() - middle
    print(
        f"checked in {middle - before:.1f}, merged in {merging:.1f} CPU s;"
        f" {time.perf_counter() - wall:.1f} s in all; at most {most} MB resident"
    )


if __name__ == "__main__":
    main()

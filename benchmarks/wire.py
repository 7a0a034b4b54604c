"""What travels, in numbers: ``python benchmarks/wire.py`` (``--quick``: two minutes).

1. Positions against the entropy floor, on independent places and on trained changes.
2. Times under dense float32 at 1 % density, with 8, 4 and 1 bit values.
3. Bytes a round of every format for the presets, both directions.
4. CPU time and memory: encode 135M at 5 %; decode and fold at K = 16.
5. Energy a bit on trained changes (AdamW, SGD), and what "auto" chooses.
6. NVIDIA FLARE's message table and FlowerTune's communication cost, same shapes.

Writes wire.json and two plots to ``--out``. Exits with 1 where a bound does not hold.
"""

import argparse
import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from rich.console import Console
from rich.table import Table

from fedelta.aggregators.base import Key, Member
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.reductions import merged
from fedelta.benchmarks.deltas import (
    LINEAR,
    REAL,
    Shapes,
    factors,
    heavy,
    smollm2,
    trained,
)
from fedelta.benchmarks.peers import (
    FLOWERTUNE,
    LLAMA,
    PUBLISHED,
    count,
    fl4health,
    flower,
    flowertune,
    nvflare,
)
from fedelta.protocols import seeds
from fedelta.protocols.budgets import fitted
from fedelta.protocols.codec import Context, Header, Payload, decode, encode
from fedelta.protocols.encoding import encode as written
from fedelta.protocols.vectors import TaskVector
from fedelta.server.inspection import floor

DENSITIES = (0.003, 0.01, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3)
FORMATS = (
    "fp32",
    "fp16",
    "fp8",
    "int8",
    "int4",
    "sign256",
    "sparse(density=0.05)",
    "sparse(density=0.01)",
    "sparse(density=0.05, values='sign256')",
    "masked(density=0.1, values='sign256')",
    "dare(density=0.05, values='fp8')",
)
OVER, TIMES = 1.03, {"fp8": 190, "int8": 190, "int4": 260, "sign256": 340}
ENCODE_SECONDS, FOLD_NS, MEMBERS = 1.0, 6.0, 16

Rows = list[dict[str, Any]]


def header(vector: TaskVector) -> Header:
    """What a payload of a benchmark says of itself."""
    return Header("00", 1, "a", "ff", vector.layout.fingerprint)


def opened(data: bytes, vector: TaskVector) -> Payload:
    """A payload, decoded."""
    found = decode(data, Context(vector.layout, "00", 1, "ff"))
    if not isinstance(found, Payload):
        raise TypeError(found)
    return found


def sent(vector: TaskVector, wire: str) -> bytes:
    """A payload."""
    return encode(vector, wire, header(vector))


def cpu(task: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a task, and what it gives."""
    began = time.process_time()
    found = task()
    return time.process_time() - began, found


def flat(vector: TaskVector) -> Any:
    """[N] everything, float64."""
    return np.concatenate(
        [vector.tensors[n].reshape(-1) for n in vector.layout.names]
    ).astype(np.float64)


def kept_bits(payload: Payload) -> Any:
    """[N] which elements travel."""
    bits = np.zeros(payload.layout.size, np.bool_)
    for span in payload.layout.spans:
        places = payload.block(span).positions
        if places is not None:
            bits[span.flat + places.astype(np.int64)] = True
    return bits


def positions(name: str, vector: TaskVector, density: float) -> dict[str, Any]:
    """Bits a kept value of places, by ours and by others."""
    payload = opened(sent(vector, f"sparse(density={density})"), vector)
    size, kept = payload.layout.size, payload.kept
    tables = payload.streams.tables
    streams = tables.chunks[:, payload.streams.shape.planes - 2 :].sum()
    data = len(sent(vector, f"sparse(density={density})"))
    told = data - payload.streams.frames.size
    least = floor(size, kept)
    bitmap = len(zstandard.compress(np.packbits(kept_bits(payload)).tobytes(), 1))
    return {
        "on": name,
        "density": kept / size,
        "floor": least / kept,
        "ours": 8 * streams / kept,
        "over floor": 8 * streams / least,
        "with tables": 8 * (streams + told) / least,
        "bitmap+zstd": 8 * bitmap / kept,
        "int32": 32.0,
        "COO int64": 128.0,
    }


def all_positions(real: dict[str, TaskVector], size: int) -> Rows:
    """Independent places first."""
    some = heavy({"w": (size // 4096, 4096)})
    normal = seeds.normal(seeds.key("places"), 0, 1 << 20)
    drawn = np.resize(normal.astype(np.float32), size).reshape(-1, 4096)
    independent = TaskVector.of({"w": drawn}) if size > 1 << 20 else some
    rows = [positions("independent", independent, d) for d in DENSITIES]
    for name, vector in real.items():
        rows += [positions(name, vector, d) for d in (0.01, 0.05, 0.2)]
    return rows


def smaller(vector: TaskVector) -> Rows:
    """Times under dense float32 at 1 %."""
    dense, rows = 4 * vector.layout.size, []
    for values, least in TIMES.items():
        length = len(sent(vector, f"sparse(density=0.01, values='{values}')"))
        times = dense / length
        rows.append({"values": values, "bytes": length, "times": times, "goal": least})
    peers = {
        "int32 + float32": 8 * opened(sent(vector, "sparse(0.01)"), vector).kept,
        "FL4Health COO": fl4health(vector, 0.01),
    }
    for name, length in peers.items():
        rows.append({"values": name, "bytes": length, "times": dense / length})
    return rows


def presets(real: dict[str, TaskVector], *, quick: bool) -> Rows:
    """Bytes a client and round, up, and what a merged update takes down."""
    given = {"icd10 LoRA up": real["LoRA, AdamW"]}
    shapes = dict(zip(*_named(given["icd10 LoRA up"]), strict=True))
    down = {n: _wider(n, shape, 32) for n, shape in shapes.items()}
    given["icd10 LoRA down (rank 32)"] = heavy(down)
    whole = smollm2(3 if quick else 30)
    given["smollm2 LoRA up"] = heavy(factors(smollm2(), LINEAR, 8))
    given["smollm2 LoRA down (rank 32)"] = heavy(factors(smollm2(), LINEAR, 32))
    given[f"smollm2 full{' (3 layers)' if quick else ''}"] = heavy(whole)
    rows = []
    for name, vector in given.items():
        row: dict[str, Any] = {"vector": name, "elements": vector.layout.size}
        row |= {wire: len(sent(vector, wire)) for wire in FORMATS}
        shapes = dict(zip(*_named(vector), strict=True))
        row["Flower ArrayRecord"] = flower(vector)
        row |= {f"NVFlare {n}": size for n, size in nvflare(shapes).items()}
        row["FL4Health COO 5 %"] = fl4health(vector, 0.05)
        rows.append(row)
    return rows


def _named(vector: TaskVector) -> tuple[Any, Any]:
    return vector.layout.names, vector.layout.shapes


def _wider(name: str, shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    if name.endswith("lora_A.weight"):
        return (rank, shape[1])
    return (shape[0], rank) if name.endswith("lora_B.weight") else shape


def costs(*, quick: bool) -> dict[str, float]:
    """CPU seconds of an encode at 135M, nanoseconds a kept value at K = 16, memory."""
    vector = heavy(smollm2(3 if quick else 30))
    sent(heavy(smollm2(1)), "sparse(density=0.05)")  # compiles
    seconds, data = cpu(lambda: sent(vector, "sparse(density=0.05)"))
    share = smollm2()
    scale = count(share) / vector.layout.size
    opened(data, vector)
    tracemalloc.start()
    opened(data, vector)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    part: Shapes = {"w": (8 if quick else 16, 1 << 20)}
    payloads = []
    for k in range(MEMBERS):
        one = heavy(part, k)
        payloads.append(opened(sent(one, "sparse(density=0.05)"), one))
    kept = sum(payload.kept for payload in payloads)
    found: dict[str, float] = {"encode seconds, 135M at 5 %": seconds * scale}
    for text in ("fedavg", "ties(density=1.0)"):
        fold = partial(_fold, text, payloads)
        fold()
        found[f"{text}: decode and fold, ns a kept value"] = cpu(fold)[0] * 1e9 / kept
    found["decode: peak bytes beyond the payload"] = peak
    found["decode: payload bytes"] = len(data)
    return found


def _fold(text: str, payloads: list[Payload]) -> None:
    members = [Member(f"{k:02}", one) for k, one in enumerate(payloads)]
    result = merged(recipe(text), members, Key())
    for span in result.layout.spans:
        result.block(span)


def energies(real: dict[str, TaskVector]) -> Rows:
    """Cosine and energy of every format, and of "auto" at the bytes of some."""
    rows = []
    for name, vector in real.items():
        whole = flat(vector)
        tried = {wire: sent(vector, wire) for wire in FORMATS}
        for wire in ("sign256", "sparse(density=0.05)", "sparse(density=0.01)"):
            most = len(tried[wire])
            found = fitted(vector, header(vector), most)
            tried[f"auto at the bytes of {wire}"] = found.data
        for wire, data in tried.items():
            found_ = flat(TaskVector.of(opened(data, vector).tensors()))
            norm = np.linalg.norm(found_) * np.linalg.norm(whole)
            error = float(((whole - found_) ** 2).sum() / (whole**2).sum())
            rows.append(
                {
                    "delta": name,
                    "wire": wire,
                    "bits an element": 8 * len(data) / whole.size,
                    "energy": 1 - error,
                    "cosine": float(whole @ found_ / norm) if norm else 0.0,
                    "formats": opened(data, vector).formats(),
                }
            )
    return rows


def published() -> Rows:
    """Others' tables, and ours on the same shapes."""
    flare = nvflare(LLAMA)
    rows: Rows = [
        {"message": f"NVFlare {n}", "MiB": size / 2**20, "published": PUBLISHED[n]}
        for n, size in flare.items()
    ]
    part = heavy(
        {n: s for n, s in LLAMA.items() if n.startswith(("layers.0.", "norm"))}
    )
    for wire in ("int8", "fp8", "int4", "sign256", "sparse(density=0.01)"):
        each = len(sent(part, wire)) / part.layout.size
        rows.append({"message": f"ours, {wire}", "MiB": each * count(LLAMA) / 2**20})
    shapes = flowertune()
    times = 2 * FLOWERTUNE["asked"] * FLOWERTUNE["rounds"]
    dense = 4 * count(shapes) * times / 2**20
    rows.append({"message": "FlowerTune, 200 rounds both ways", "MiB": dense})
    one = heavy({n: s for n, s in shapes.items() if n.startswith("0.")})
    for wire in ("fp8", "int4", "sign256"):
        each = len(written(one, wire, header(one))) / one.layout.size
        total = each * count(shapes) * times / 2**20
        rows.append({"message": f"FlowerTune, ours {wire} both ways", "MiB": total})
    return rows


def faults(found: dict[str, Any]) -> list[str]:
    """What does not hold."""
    wrong = [
        f"positions at {row['density']:.3f} on {row['on']}: {row['over floor']:.4f}"
        for row in found["positions"]
        if row["over floor"] > (OVER if row["on"] == "independent" else 1.0)
    ]
    wrong += [
        f"1 % with {row['values']}: {row['times']:.0f} times, {row['goal']} wanted"
        for row in found["smaller"]
        if row["times"] < row.get("goal", 0)
    ]
    for name, value in found["costs"].items():
        bound = {"encode": ENCODE_SECONDS, "fedavg": FOLD_NS, "ties(d": FOLD_NS}
        if value > bound.get(name[:6], float("inf")):
            wrong.append(f"{name}: {value:.2f}")
    return wrong


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("build/wire"))
    given = parser.parse_args()
    wanted = list(REAL)[:2] if given.quick else list(REAL)
    real = {name: trained(*REAL[name]) for name in wanted}
    found: dict[str, Any] = {
        "positions": all_positions(real, 1 << (22 if given.quick else 25)),
        "smaller": smaller(heavy(smollm2(3 if given.quick else 30))),
        "presets": presets(real, quick=given.quick),
        "costs": costs(quick=given.quick),
        "energies": energies(real),
        "published": published(),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1, default=float)
    (given.out / "wire.json").write_text(text + "\n")
    _print(found)
    _plot(found, given.out)
    wrong = faults(found)
    for one in wrong:
        print("does not hold:", one)
    return bool(wrong)


def _print(found: dict[str, Any]) -> None:
    console = Console(width=200)
    for name, rows in found.items():
        listed = rows if isinstance(rows, list) else [rows]
        columns = list(dict.fromkeys(key for row in listed for key in row))
        if name == "presets":  # a row a format
            listed = [
                {"format": key} | {row["vector"]: row.get(key) for row in listed}
                for key in columns[1:]
            ]
            columns = list(listed[0])
        table = Table(*columns, title=name)
        for row in listed:
            table.add_row(*(_cell(row.get(column)) for column in columns))
        console.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def _plot(found: dict[str, Any], out: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plain = [row for row in found["positions"] if row["on"] == "independent"]
    figure, axes = plt.subplots()
    for name in ("floor", "ours", "bitmap+zstd", "int32"):
        axes.loglog([r["density"] for r in plain], [r[name] for r in plain], label=name)
    axes.set(xlabel="density", ylabel="bits a kept value", title="Positions")
    axes.legend()
    figure.savefig(out / "positions.svg")
    figure, axes = plt.subplots()
    for name in dict.fromkeys(row["delta"] for row in found["energies"]):
        rows = [r for r in found["energies"] if r["delta"] == name]
        axes.semilogx(
            [r["bits an element"] for r in rows], [r["energy"] for r in rows], "o",
            label=name,
        )  # fmt: skip
    axes.set(xlabel="bits an element", ylabel="energy", title="Energy for bits")
    axes.legend()
    figure.savefig(out / "energy.svg")


if __name__ == "__main__":
    sys.exit(main())

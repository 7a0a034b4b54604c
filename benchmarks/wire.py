"""What travels, in numbers: ``python benchmarks/wire.py`` (``--quick``: two minutes).

1. Positions against the entropy floor, on independent places and on trained changes.
2. Times under dense float32 at 1 % density, with 8, 4 and 1 bit values.
3. Bytes a round of every format for the presets, both directions.
4. CPU time and memory: encode 135M at 5 %; decode and fold at K = 16.
5. Energy a bit on trained changes (AdamW, SGD), and what "auto" chooses.
6. NVIDIA FLARE's message table and FlowerTune's communication cost, same shapes.

``--only positions costs`` measures these parts alone. Writes wire.json and two plots
to ``--out``. Exits with 1 where a bound does not hold.
"""

import argparse
import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from fedelta.aggregators.base import Key, Member
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.reductions import merged
from fedelta.benchmarks.deltas import REAL, heavy, smollm2, trained
from fedelta.benchmarks.drawings import plot, show
from fedelta.benchmarks.peers import count, fl4health
from fedelta.benchmarks.sizes import (
    FORMATS,
    Rows,
    header,
    opened,
    presets,
    published,
    sent,
)
from fedelta.benchmarks.verdicts import verdict
from fedelta.protocols import seeds
from fedelta.protocols.budgets import fitted
from fedelta.protocols.codec import Payload
from fedelta.protocols.containers import unpack
from fedelta.protocols.vectors import TaskVector
from fedelta.server.inspection import floor

DENSITIES = (0.003, 0.01, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3)
OVER, TIMES = 1.03, {"fp8": 190, "int8": 190, "int4": 260, "sign256": 340}
PARTS = ("positions", "smaller", "presets", "costs", "energies", "published")
ENCODE_SECONDS, FOLD_NS, MEMBERS = 1.0, 6.0, 16


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
    data = sent(vector, f"sparse(density={density})")
    payload = opened(data, vector)
    size, kept = payload.layout.size, payload.kept
    tables = payload.streams.tables
    streams = int(tables.chunks[:, payload.streams.shape.planes - 2 :].sum())
    told = unpack(data).tensors["tables"].nbytes
    least = floor(size, kept)
    bitmap = len(zstandard.compress(np.packbits(kept_bits(payload)).tobytes(), 1))
    return {
        "on": name,
        "density": kept / size,
        "kept": kept,
        "floor": least / kept,
        "ours": 8 * streams / kept,
        "over floor": 8 * streams / least,
        "with tables": 8 * (streams + told) / least,
        "header, bytes": len(data) - payload.streams.frames.size - told,
        "bitmap+zstd": 8 * bitmap / kept,
        "int32": 32.0,
        "COO int64": 128.0,
    }


def all_positions(real: dict[str, TaskVector], size: int) -> Rows:
    """Independent places first: numbers that nothing connects or repeats."""
    drawn = np.empty(size, np.float32)
    for start in range(0, size, 1 << 20):
        some = seeds.uniform(seeds.key("places"), start, 1 << 20)
        drawn[start : start + (1 << 20)] = some - 0.5
    independent = TaskVector.of({"w": drawn.reshape(-1, 4096)})
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
    part: dict[str, tuple[int, ...]] = {"w": (8 if quick else 16, 1 << 20)}
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


def measured(parts: Sequence[str], *, quick: bool) -> dict[str, Any]:
    """Some parts of the whole; clients train where one needs it."""
    wanted = list(REAL)[:2] if quick else list(REAL)
    needs = {"positions", "presets", "energies"} & set(parts)
    real = {name: trained(*REAL[name]) for name in wanted if needs}
    tasks: dict[str, Callable[[], Any]] = {
        "positions": lambda: all_positions(real, 1 << (22 if quick else 25)),
        "smaller": lambda: smaller(heavy(smollm2(3 if quick else 30))),
        "presets": lambda: presets(real, quick=quick),
        "costs": lambda: costs(quick=quick),
        "energies": lambda: energies(real),
        "published": published,
    }
    return {part: tasks[part]() for part in parts}


def faults(found: dict[str, Any], *, quick: bool) -> list[str]:
    """What does not hold; a small machine that does other things has twice the time."""
    wrong = [
        f"positions at {row['density']:.3f} on {row['on']}: {row['with tables']:.4f}"
        for row in found.get("positions", [])
        if row["with tables"] > (1.0 if row["on"].startswith("full") else OVER)
        and not row["on"].startswith("LoRA")  # a few hundred places: told, not judged
    ]
    wrong += [
        f"1 % with {row['values']}: {row['times']:.0f} times, {row['goal']} wanted"
        for row in found.get("smaller", [])
        if row["times"] < row.get("goal", 0)
    ]
    wrong += [
        f"{row['message']}: {row['MiB']:.2f} MiB, published {row['published']:.2f}"
        for row in found.get("published", [])
        if abs(row["MiB"] - row.get("published", row["MiB"])) > 0.01  # noqa: PLR2004
    ]
    for name, value in found.get("costs", {}).items():
        bound = {"encode": ENCODE_SECONDS, "fedavg": FOLD_NS, "ties(d": FOLD_NS}
        if value > (1 + quick) * bound.get(name[:6], float("inf")):
            wrong.append(f"{name}: {value:.2f}")
    return wrong


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("build/wire"))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    given = parser.parse_args()
    found = measured(given.only, quick=given.quick)
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "wire.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    text = json.dumps(known | found, indent=1, default=float)
    kept.write_text(text + "\n")
    show(found)
    plot(found, given.out)
    wrong = faults(found, quick=given.quick)
    return verdict(wrong)


if __name__ == "__main__":
    sys.exit(main())

"""Bytes of payloads: the presets' in every format, and others' published tables."""

from typing import Any

from fedelta.benchmarks.deltas import LINEAR, factors, heavy, smollm2
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
from fedelta.protocols.codec import Context, Header, Payload, decode, encode
from fedelta.protocols.vectors import TaskVector

Rows = list[dict[str, Any]]

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
        each = len(sent(one, wire)) / one.layout.size
        total = each * count(shapes) * times / 2**20
        rows.append({"message": f"FlowerTune, ours {wire} both ways", "MiB": total})
    return rows

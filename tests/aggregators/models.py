"""Small models to merge, in memory and on disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from fedelta.aggregators.tensors import header, rounded
from fedelta.protocols import seeds

SHAPES = {"big": (300, 401), "one": (1,), "none": (0, 4), "bias": (17,)}
Model = dict[str, np.ndarray[Any, Any]]


def model(purpose: str, dtype: str = "f4", size: float = 1.0) -> Model:
    tensors: Model = {}
    for name, shape in SHAPES.items():
        key = seeds.key(purpose, name)
        values = seeds.normal(key, 0, int(np.prod(shape))).reshape(shape)
        tensors[name] = (size * values).astype(dtype)
    tensors["steps"] = np.array([len(purpose)], np.int64)
    return tensors


BASE = model("base")


def tuned(purpose: str, dtype: str = "f4") -> Model:
    change = model(purpose, size=0.1)
    out = {n: (BASE[n] + change[n]).astype(dtype) for n in SHAPES}
    return out | {"steps": np.array([99], np.int64)}


def bf16(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return rounded("w", values.astype(np.float64), "BF16")


def save(path: Path, tensors: Model, kinds: dict[str, str] | None = None) -> Path:
    """A safetensors file; `kinds` names those whose uint16 bits are bfloat16."""
    if not kinds:
        save_file(tensors, path, metadata={"format": "pt"})
        return path
    names = {np.dtype("f4"): "F32", np.dtype("i8"): "I64"}
    entries = {
        n: (kinds[n] if n in kinds else names[v.dtype], v.shape)
        for n, v in tensors.items()
    }
    body = b"".join(value.tobytes() for value in tensors.values())
    path.write_bytes(header(entries, {"format": "pt"}) + body)
    return path


def folder(path: Path, tensors: Model, shards: int = 1) -> Path:
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "bert"}')
    (path / "tokenizer.json").write_text("{}")
    (path / "pytorch_model.bin").write_bytes(b"old")
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text("{}")
    if shards == 1:
        save(path / "model.safetensors", tensors)
        return path
    places: dict[str, str] = {}
    for place in range(shards):
        name = f"model-{place + 1:05d}-of-{shards:05d}.safetensors"
        part = {n: tensors[n] for n in sorted(tensors)[place::shards]}
        save(path / name, part)
        places |= dict.fromkeys(part, name)
    index = json.dumps({"metadata": {}, "weight_map": places})
    (path / "model.safetensors.index.json").write_text(index)
    return path

"""Tensors of the shapes of two real models, filled with numbers of our own."""

import numpy as np
import numpy.typing as npt

from fedelta.protocols import seeds
from fedelta.protocols.vectors import Layout, TaskVector

Floats = npt.NDArray[np.float32]

STEP = (1 << 20) + 5 * 1024 + 16


def bert(
    hidden: int, inner: int, layers: int, words: int
) -> dict[str, tuple[int, ...]]:
    """An encoder's tensors."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word": (words, hidden),
        "embeddings.position": (512, hidden),
    }
    for i in range(layers):
        at = f"encoder.layer.{i}"
        for name in ("query", "key", "value", "output"):
            shapes[f"{at}.attention.{name}.weight"] = (hidden, hidden)
            shapes[f"{at}.attention.{name}.bias"] = (hidden,)
        shapes[f"{at}.up.weight"] = (inner, hidden)
        shapes[f"{at}.up.bias"] = (inner,)
        shapes[f"{at}.down.weight"] = (hidden, inner)
        for name in ("down.bias", "norm.weight", "norm.bias"):
            shapes[f"{at}.{name}"] = (hidden,)
    return shapes


def linears() -> dict[str, tuple[int, int]]:
    """The linear layers of SmolLM2-135M, [out, in]."""
    shapes = {}
    for i in range(30):
        at = f"model.layers.{i}"
        for name, out in (("q", 576), ("k", 192), ("v", 192), ("o", 576)):
            shapes[f"{at}.self_attn.{name}_proj.weight"] = (out, 576)
        for name in ("gate", "up"):
            shapes[f"{at}.mlp.{name}_proj.weight"] = (1536, 576)
        shapes[f"{at}.mlp.down_proj.weight"] = (576, 1536)
    return shapes


def smollm() -> dict[str, tuple[int, ...]]:
    """All 272 tensors but one of SmolLM2-135M (its embedding is tied)."""
    shapes: dict[str, tuple[int, ...]] = {**linears(), "model.norm.weight": (576,)}
    shapes["model.embed_tokens.weight"] = (49152, 576)
    for i in range(30):
        shapes[f"model.layers.{i}.input_layernorm.weight"] = (576,)
        shapes[f"model.layers.{i}.post_attention_layernorm.weight"] = (576,)
    return shapes


SHAPES = {
    "3M": bert(192, 768, 6, 2048),
    "33M": bert(384, 1536, 12, 30522),
    "135M": smollm(),
}


def vectors(size: str, count: int) -> list[TaskVector]:
    """Task vectors of normal numbers: windows of one run, so that many take little.

    No two have the same number in the same place, and none is near another in memory.
    """
    layout = Layout.of(SHAPES[size])
    run = normals(layout.size + count * STEP)
    ends = np.cumsum(layout.sizes).tolist()
    made = []
    for k in range(count):
        whole = run[k * STEP : k * STEP + layout.size]
        tensors = {
            name: whole[end - n : end].reshape(shape)
            for name, shape, n, end in zip(
                layout.names, layout.shapes, layout.sizes, ends, strict=True
            )
        }
        made.append(TaskVector(layout, tensors))
    return made


def normals(count: int) -> Floats:
    """Normal numbers, near enough: cheap sums of uniform ones, few of them equal."""
    out = np.empty(count, np.float32)
    for start in range(0, count, 1 << 20):
        size = min(1 << 20, count - start)
        words = seeds.words(seeds.key("benchmark", start), 0, 2 * size)
        total = words[:size].view(np.uint16).reshape(-1, 4).sum(1, dtype=np.int64)
        fine = (words[size:] >> np.uint64(40)).astype(np.float64) * 2.0**-24
        out[start : start + size] = (total + fine - 131070.5) / 37837.0 * 1e-3
    return out

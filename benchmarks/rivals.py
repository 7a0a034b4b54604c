"""The same merges by peft, mergekit and fusion-bench, on the same tensors."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fedelta.protocols.vectors import TaskVector

Merge = Callable[[Any], Any]


def find(folder: Path | None) -> None:
    """Have libraries found that lie unpacked in a folder."""
    if folder is not None:
        sys.path.append(str(folder))


def rivals(method: str, density: float, count: int) -> dict[str, Merge]:
    """By library, what merges a list of tensors."""
    found: dict[str, Merge] = {}
    if find_spec("peft"):
        found["peft"] = _peft(method, density, count)
    if find_spec("mergekit"):
        found["mergekit"] = _mergekit(method, density, count)
    if method == "ties":
        found |= _fusion(density)
    return found


def _fusion(density: float) -> dict[str, Merge]:
    """fusion-bench's, where it is installed: it hides its own spec."""
    try:
        peer = import_module(
            "fusion_bench.method.ties_merging.ties_merging_utils"
        ).ties_merging
    except ImportError:
        return {}
    import torch

    def merge(given: Any) -> Any:
        rows = torch.stack([one.reshape(-1) for one in given])
        return peer(rows, 100 * density, "mean").reshape(given[0].shape)

    return {"fusion-bench": merge}


def _peft(method: str, density: float, count: int) -> Merge:
    import torch
    from peft.utils import merge_utils

    weights = torch.ones(count)
    if method == "mean":
        return lambda given: merge_utils.task_arithmetic(given, weights / count)
    if method == "ties":
        return lambda given: merge_utils.ties(given, weights, density)
    if method == "dare_ties":
        return lambda given: merge_utils.dare_ties(given, weights, density)
    return lambda given: merge_utils.dare_linear(given, weights / count, density)


def _mergekit(method: str, density: float, count: int) -> Merge:
    import torch
    from mergekit.merge_methods.api import merge_tensors

    name = {"mean": "linear", "dare": "dare_linear"}.get(method, method)
    knobs: dict[str, Any] = {"weight": [1.0] * count}
    if name != "linear":
        knobs["density"] = density

    def merge(given: Any) -> Any:
        base = torch.zeros_like(given[0])
        inputs = given if name == "linear" else [base, *given]
        index = None if name == "linear" else 0
        return merge_tensors(inputs, name, parameters=knobs, base_index=index)

    return merge


def run(merge: Merge, vectors: Sequence[TaskVector]) -> Callable[[], dict[str, Any]]:
    """Merge tensor by tensor, as these libraries do."""
    import torch

    names = vectors[0].layout.names
    held = {
        name: [torch.from_numpy(np.asarray(one.tensors[name])) for one in vectors]
        for name in names
    }
    return lambda: {name: merge([*held[name]]) for name in names}

"""Which tensors a reply and a merged update have: what follows from shapes alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..aggregators.base import FORMED
from ..aggregators.furthers import CONTROL
from ..protocols.errors import ConfigError
from ..protocols.settings import Config, Lora
from ..protocols.vectors import Floats, Layout
from . import statistics

if TYPE_CHECKING:
    import torch

ALL_LINEAR = "all-linear"
FROZEN, SHARED, CORE = "frozen-a", "share-a", "core"
SHARED_NAME, CORE_NAME = ".shared_A.weight", ".core_R.weight"
"""What the A that all share, and the matrix between A and B, travel as."""

Shapes = Mapping[str, tuple[int, ...]]
Targets = Mapping[str, tuple[int, int]]
Layers: TypeAlias = "torch.nn.Module | frozenset[str]"


def reply(body: Layers, targets: Targets, dense: Shapes, config: Config) -> Layout:
    """The tensors of a reply: factors of targets, what is dense, statistics, controls.

    Args:
        body: the model, or the names of its linear layers' weights.
        targets: [out, in] of the layers that adapters go into, by name.
        dense: shapes of what is trained whole.
        config: as the client sees it.
    """
    shapes = {**_factors(targets, config.lora.space, config.lora.rank), **dense}
    more = statistics.shapes(body, shapes, config.merge.recipe)
    return Layout.of(shapes | more | controls(targets, dense, config))


def controls(
    targets: Targets, dense: Shapes, config: Config
) -> dict[str, tuple[int, ...]]:
    """SCAFFOLD's control variates: one of every tensor that travels, and its shape."""
    if not config.train.scaffold:
        return {}
    shapes = {**_factors(targets, config.lora.space, config.lora.rank), **dense}
    return {name + CONTROL: shape for name, shape in shapes.items()}


def personal(config: Config) -> bool:
    """Whether clients keep factors of their own, so that no two models are alike.

    Example:
        >>> from fedelta.protocols.settings import Lora
        >>> personal(Config(lora=Lora(space="share-a"))), personal(Config())
        (True, False)
    """
    return config.train.mode == "lora" and config.lora.space == SHARED


def zeros(shapes: Shapes) -> dict[str, Floats]:
    """Tensors of nothing yet."""
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


def renamed(name: str, end: str) -> str:
    """What travels of a module, by the name of one of its factors.

    Example:
        >>> renamed("layer.0.query.lora_A.weight", SHARED_NAME)
        'layer.0.query.shared_A.weight'
    """
    return name.removesuffix(".weight").rpartition(".")[0] + end


def update(
    targets: Targets,
    dense: Shapes,
    lora: Lora,
    highest_rank: int,
    more: Shapes | None = None,
) -> Layout:
    """The tensors of a merged update: pairs at the rank of the way down.

    In the space "residual" whole weights; where factors are merged as they came, what
    a reply has of them.

    Args:
        targets: [out, in] of the layers that adapters go into, by name.
        dense: shapes of what is trained whole.
        lora: the run's.
        highest_rank: of any client.
        more: what is merged beside changes (`controls`).
    """
    shapes: dict[str, tuple[int, ...]] = {**dense, **(more or {})}
    if lora.space not in FORMED:  # merged as they came
        return Layout.of(shapes | _factors(targets, lora.space, highest_rank))
    for module, (wide, deep) in targets.items():
        if lora.space == "residual":
            shapes[f"{module}.weight"] = (wide, deep)
            continue
        rank = min(lora.rank_down or 4 * highest_rank, wide, deep)
        shapes[f"{module}.lora_A.weight"] = (rank, deep)
        shapes[f"{module}.lora_B.weight"] = (wide, rank)
    return Layout.of(shapes)


def _factors(targets: Targets, space: str, rank: int) -> dict[str, tuple[int, ...]]:
    """The factors that travel."""
    shapes: dict[str, tuple[int, ...]] = {}
    for module, (wide, deep) in targets.items():
        if space == CORE:
            shapes[module + CORE_NAME] = (rank, rank)
        elif space == SHARED:
            shapes[module + SHARED_NAME] = (rank, deep)
        else:
            shapes[f"{module}.lora_B.weight"] = (wide, rank)
            if space != FROZEN:
                shapes[f"{module}.lora_A.weight"] = (rank, deep)
    return shapes


def targets(body: "torch.nn.Module", lora: Lora) -> dict[str, tuple[int, int]]:
    """The [out, in] of every linear layer that an adapter goes into, by name.

    Raises:
        ConfigError: the model has no layer of these names.
    """
    from torch import nn

    linear = {
        name: (module.out_features, module.in_features)
        for name, module in body.named_modules()
        if isinstance(module, nn.Linear) and _inside(name, module, body)
    }
    wanted = tuple(lora.targets)
    if wanted == (ALL_LINEAR,):
        return _wide(linear, lora)
    found = {
        name: shape
        for name, shape in linear.items()
        if any(name == end or name.endswith(f".{end}") for end in wanted)
    }
    if not found:
        ends = sorted({name.rpartition(".")[2] for name in linear})
        raise ConfigError(
            f"lora.targets = {list(wanted)}: this model has no such linear layers; "
            f'it has {", ".join(ends)}, or ["all-linear"]'
        )
    return _wide(found, lora)


def _wide(found: dict[str, tuple[int, int]], lora: Lora) -> dict[str, tuple[int, int]]:
    """The targets, wide enough for a core between orthonormal factors."""
    for name, shape in found.items() if lora.space == CORE else ():
        if min(shape) < lora.rank:
            raise ConfigError(
                f"lora.rank = {lora.rank}: {name} is {shape[0]} x {shape[1]}, and a "
                "core has no more rows than that"
            )
    return found


def _inside(name: str, module: Any, body: Any) -> bool:
    """Whether a layer takes part in the output: neither a head nor a pooler."""
    outputs = getattr(body, "get_output_embeddings", lambda: None)
    if module is outputs():
        return False
    head = hasattr(body, "classifier") or hasattr(body, "score")
    prefix = f"{body.base_model_prefix}." if head else ""
    return name.startswith(prefix) and (head or "pooler" not in name.split("."))

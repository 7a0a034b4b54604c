"""Which tensors a reply and a merged update have: what follows from shapes alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..protocols.errors import ConfigError
from ..protocols.settings import Config, Lora
from ..protocols.vectors import Layout
from . import statistics

if TYPE_CHECKING:
    import torch

ALL_LINEAR = "all-linear"
FROZEN = "frozen-a"

Shapes = Mapping[str, tuple[int, ...]]
Targets = Mapping[str, tuple[int, int]]


def reply(
    body: "torch.nn.Module", targets: Targets, dense: Shapes, config: Config
) -> Layout:
    """The tensors of a reply: A and B of targets, what is dense, statistics.

    Args:
        body: the model.
        targets: [out, in] of the layers that adapters go into, by name.
        dense: shapes of what is trained whole.
        config: as the client sees it.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    rank = config.lora.rank
    for module, (wide, deep) in targets.items():
        if config.lora.space != FROZEN:
            shapes[f"{module}.lora_A.weight"] = (rank, deep)
        shapes[f"{module}.lora_B.weight"] = (wide, rank)
    shapes |= dense
    more = statistics.shapes(body, shapes, config.merge.recipe)
    return Layout.of(shapes | more)


def update(targets: Targets, dense: Shapes, lora: Lora, highest_rank: int) -> Layout:
    """The tensors of a merged update: pairs at the rank of the way down.

    In the space "residual" whole weights, in "frozen-a" every B alone.

    Args:
        targets: [out, in] of the layers that adapters go into, by name.
        dense: shapes of what is trained whole.
        lora: the run's.
        highest_rank: of any client.
    """
    shapes: dict[str, tuple[int, ...]] = dict(dense)
    for module, (wide, deep) in targets.items():
        if lora.space == "residual":
            shapes[f"{module}.weight"] = (wide, deep)
            continue
        rank = min(lora.rank_down or 4 * highest_rank, wide, deep)
        if lora.space != "product":  # merged as they came
            rank = highest_rank
        if lora.space != FROZEN:
            shapes[f"{module}.lora_A.weight"] = (rank, deep)
        shapes[f"{module}.lora_B.weight"] = (wide, rank)
    return Layout.of(shapes)


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
    if lora.targets == (ALL_LINEAR,):
        return linear
    wanted = tuple(lora.targets)
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
    return found


def _inside(name: str, module: Any, body: Any) -> bool:
    """Whether a layer takes part in the output: neither a head nor a pooler."""
    outputs = getattr(body, "get_output_embeddings", lambda: None)
    if module is outputs():
        return False
    head = hasattr(body, "classifier") or hasattr(body, "score")
    prefix = f"{body.base_model_prefix}." if head else ""
    return name.startswith(prefix) and (head or "pooler" not in name.split("."))

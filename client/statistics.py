"""What some recipes need of a client beside its change, measured after training.

For ``fisher`` the diagonal Fisher information of every tensor that travels, for
``regmean`` X^T X of every linear layer's inputs. Both are means over at most 64 of the
client's own examples, drawn by the round's key, on a scale that all clients share.
They tell of private data and no clip or noise on the changes covers them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..aggregators.furthers import FISHER, GRAM, wanted
from ..aggregators.recipes import recipe
from ..protocols import seeds
from ..protocols.settings import Config
from ..protocols.vectors import Floats

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .adapters import Adapter
    from .data import Examples

MOST = 64
"""Examples that are looked at."""

Shapes = dict[str, tuple[int, ...]]


def shapes(
    body: "nn.Module | frozenset[str]", held: Mapping[str, tuple[int, ...]], text: str
) -> Shapes:
    """The further tensors of a reply, by name.

    Args:
        body: the model, or the names of its linear layers' weights.
        held: the tensors that travel, with their shapes.
        text: the recipe's.
    """
    suffix = wanted(recipe(text))
    if suffix == FISHER:
        return {name + FISHER: shape for name, shape in held.items()}
    if suffix == GRAM:
        layers = body if isinstance(body, frozenset) else frozenset(linear(body))
        return {n + GRAM: (held[n][1],) * 2 for n in held if n in layers}
    return {}


def measured(
    adapter: "Adapter", examples: "Examples", config: Config, key: int
) -> dict[str, Floats]:
    """What the run's recipe needs beside the change; nothing for most recipes."""
    suffix = wanted(recipe(config.merge.recipe))
    if not suffix:
        return {}
    rows = adapter.base.network.rows(examples, config.train)
    order = seeds.permutation(seeds.key("statistics", key), len(rows))
    some = [rows[place] for place in order[:MOST].tolist()]
    if suffix == FISHER:
        return _fisher(adapter, some, config)
    return _grams(adapter, some, config)


def _fisher(adapter: "Adapter", rows: list[Any], config: Config) -> dict[str, Floats]:
    """Mean squared gradients of the examples' log-likelihoods, by their labels."""
    import torch

    network = adapter.base.network
    names, parameters = list(adapter.travelling), list(adapter.travelling.values())
    sums = [torch.zeros_like(one, dtype=torch.float64) for one in parameters]
    for row in rows:
        loss = network.loss([row], config.train)
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        for place, one in enumerate(found):
            if one is not None:
                sums[place] += one.detach().double().square()
    return {
        name + FISHER: (total / max(len(rows), 1)).float().numpy()
        for name, total in zip(names, sums, strict=True)
    }


def _grams(adapter: "Adapter", rows: list[Any], config: Config) -> dict[str, Floats]:
    """Mean outer products of the linear layers' inputs, one a position."""
    import torch

    network = adapter.base.network
    layers = {
        name: one for name, one in linear(network.body).items()
        if name in adapter.parameters
    }  # fmt: skip
    with torch.inference_mode(), _listening(layers) as (sums, counts):
        for row in rows:
            network.loss([row], config.train)
    return {
        name + GRAM: (total / max(counts[name], 1)).float().numpy()
        for name, total in sums.items()
    }


@contextmanager
def _listening(
    layers: "Mapping[str, nn.Linear]",
) -> "Iterator[tuple[dict[str, Tensor], dict[str, int]]]":
    """Sums of outer products of what goes into some layers, and of how many."""
    import torch

    sums = {
        name: torch.zeros((one.in_features,) * 2, dtype=torch.float64)
        for name, one in layers.items()
    }
    counts = dict.fromkeys(layers, 0)

    def hook(name: str) -> Any:
        def heard(module: Any, inputs: Any) -> None:  # noqa: ARG001
            flat = inputs[0].detach().reshape(-1, inputs[0].shape[-1]).double()
            sums[name] += flat.T @ flat
            counts[name] += len(flat)

        return heard

    handles = [
        one.register_forward_pre_hook(hook(name)) for name, one in layers.items()
    ]
    try:
        yield sums, counts
    finally:
        for one in handles:
            one.remove()


def linear(body: "nn.Module") -> "dict[str, nn.Linear]":
    """The linear layers by their weights' names."""
    from torch import nn

    return {
        f"{name}.weight": module
        for name, module in body.named_modules()
        if isinstance(module, nn.Linear)
    }

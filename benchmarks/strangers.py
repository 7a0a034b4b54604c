"""The same one-shot clients merged by peft and by mergekit.

peft merges adapters (`add_weighted_adapter`), mergekit whole weights: what each adapter
adds to them. Heads are merged alike by all: the mean.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from fedelta.aggregators import factors
from fedelta.aggregators.products import tensor
from fedelta.aggregators.spaces import Arrival
from fedelta.benchmarks.trainings import Cohort
from fedelta.protocols.vectors import Floats, Pair

OURS = ("fedavg()", "ties(density=0.2)", "dare(density=0.5)", "dare_ties(density=0.5)")
MERGEKIT = ("linear", "ties", "dare_linear", "dare_ties")
PEFT = ("linear", "svd", "ties", "ties_svd", "dare_linear", "dare_ties")
"""peft merges factors apart where it does not say svd."""
DENSITY = {"ties": 0.2, "ties_svd": 0.2}
"""Of all others a half."""
RANK = 32
"""To which peft's svd brings merges down, as ours are."""

Update = dict[str, Floats]
Tensors = Mapping[str, Floats]


def merges(cohort: Cohort, given: Sequence[Arrival]) -> dict[str, Callable[[], Update]]:
    """What merges the replies, by tool and method; those that are installed."""
    found = {f"fedelta {one}": _bound(cohort.merged, given, one) for one in OURS}
    if find_spec("peft"):
        found |= {f"peft {one}": _bound(peft, given, one) for one in PEFT}
    if find_spec("mergekit"):
        found |= {f"mergekit {one}": _bound(mergekit, given, one) for one in MERGEKIT}
    return found


def _bound(call: Callable[..., Update], *given: Any) -> Callable[[], Update]:
    return lambda: call(*given)


def _tensors(one: Arrival) -> dict[str, Floats]:
    """Factors as they are, not their changes; other tensors' changes."""
    given = one.contribution
    found = {name: tensor(given, name) for name in given.layout.names}
    return {n: v + one.start[n] if n in one.start else v for n, v in found.items()}


def _heads(given: Sequence[Arrival]) -> Update:
    """The mean of what is no pair's."""
    paired = {name for pair in given[0].pairs for name in (pair.a, pair.b)}
    held = [_tensors(one) for one in given]
    names = [name for name in held[0] if name not in paired]
    return {n: np.mean([one[n] for one in held], 0, dtype=np.float32) for n in names}


def mergekit(given: Sequence[Arrival], method: str) -> Update:
    """Whole weights' changes by mergekit's own merge, normalised; a dense update."""
    import torch
    from mergekit.merge_methods.api import merge_tensors

    held = [_tensors(one) for one in given]
    knobs: dict[str, Any] = {"weight": [1.0] * len(given), "normalize": True}
    update = _heads(given)
    for pair in given[0].pairs:
        products = [pair.scaling * (own[pair.b] @ own[pair.a]) for own in held]
        parts = [torch.from_numpy(np.float32(one)) for one in products]
        if method == "linear":
            found = merge_tensors(parts, method, parameters=knobs)
        else:
            more = knobs | {"density": DENSITY.get(method, 0.5)}
            parts = [torch.zeros_like(parts[0]), *parts]
            found = merge_tensors(parts, method, parameters=more, base_index=0)
        update[pair.weight] = found.numpy().astype(np.float32)
    return update


def peft(given: Sequence[Arrival], method: str) -> Update:
    """Adapters by peft's `add_weighted_adapter`, on layers of these shapes alone."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch import nn

    pairs = given[0].pairs
    held = [_tensors(one) for one in given]
    layers = nn.ModuleDict()
    for pair in pairs:
        wide, tall = held[0][pair.a].shape[1], held[0][pair.b].shape[0]
        layers[_plain(pair)] = nn.Linear(wide, tall, bias=False)
    rank = held[0][pairs[0].a].shape[0]
    config = LoraConfig(
        r=rank,
        lora_alpha=int(pairs[0].scaling * rank),
        target_modules=[_plain(pair) for pair in pairs],
    )
    names = [one.name for one in given]
    model: Any = get_peft_model(layers, config, adapter_name=names[0])
    for name in names[1:]:
        model.add_adapter(name, config)
    with torch.no_grad():
        for name, own in zip(names, held, strict=True):
            for pair in pairs:
                layer = model.base_model.model[_plain(pair)]
                layer.lora_A[name].weight.copy_(torch.from_numpy(own[pair.a]))
                layer.lora_B[name].weight.copy_(torch.from_numpy(own[pair.b]))
    elected = "ties" in method  # a mean of what agrees; the others are sums
    weights = [1.0 if elected else 1.0 / len(names)] * len(names)
    more: dict[str, Any] = {"svd_rank": RANK} if "svd" in method else {}
    if method not in ("linear", "svd"):
        more["density"] = DENSITY.get(method, 0.5)
    model.add_weighted_adapter(names, weights, "merged", method, **more)
    return _heads(given) | _read(model, pairs)


def _plain(pair: Pair) -> str:
    """A module's name without dots."""
    return pair.weight.removesuffix(".weight").replace(".", "_")


def _read(model: Any, pairs: Sequence[Pair]) -> Update:
    update: Update = {}
    for pair in pairs:
        layer = model.base_model.model[_plain(pair)]
        b, a = factors.names(pair.weight)
        scaling = np.float32(layer.scaling["merged"])
        update[b] = scaling * layer.lora_B["merged"].weight.detach().numpy()
        update[a] = layer.lora_A["merged"].weight.detach().numpy().copy()
    return update

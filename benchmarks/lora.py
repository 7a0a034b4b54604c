"""Adapters of SmolLM2-135M merged as products, beside peft's "svd", over all linears.

    python benchmarks/lora.py [--layers 30] [--adapters 8] [--rank 16]

Ours: stacked factors, two QR factorisations and the SVD of a small core; nothing dense
is formed. peft's: the dense sum's SVD, layer by layer. Both bring down to the rank of
the adapters; the products of both are compared.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedelta.aggregators.base import Key
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.spaces import Arrival, Merged, merge_round
from fedelta.benchmarks.floors import cost
from fedelta.benchmarks.models import linears
from fedelta.protocols import seeds
from fedelta.protocols.vectors import Floats, Pair, TaskVector


def adapter(
    shapes: Mapping[str, tuple[int, int]], rank: int, name: str
) -> tuple[TaskVector, tuple[Pair, ...]]:
    """Factors of normal numbers, and which belong together."""
    tensors: dict[str, Floats] = {}
    pairs = []
    for weight, (out, inside) in shapes.items():
        module = weight.removesuffix(".weight")
        b, a = f"{module}.lora_B.weight", f"{module}.lora_A.weight"
        for factor, shape in ((b, (out, rank)), (a, (rank, inside))):
            drawn = seeds.normal(seeds.key(name, factor), 0, shape[0] * shape[1])
            tensors[factor] = (0.02 * drawn).astype(np.float32).reshape(shape)
        pairs.append(Pair(weight, a, b, 2.0))
    return TaskVector.of(tensors), tuple(pairs)


def ours(arrivals: list[Arrival], rank: int) -> Merged:
    """The mean of the products, at a rank."""
    made = recipe("fedavg")
    return merge_round(made, "product", arrivals, key=Key("00", 1), rank_down=rank)


def theirs(arrivals: list[Arrival], rank: int) -> Any:
    """Peft's merge of the same adapters: a call, and modules to read it from."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.set_num_threads(1)
    pairs = arrivals[0].pairs
    given = arrivals[0].contribution
    layout = given.layout
    layers: Any = torch.nn.ModuleDict()
    for pair in pairs:
        out = layout.shapes[layout.place(pair.b)][0]
        inside = layout.shapes[layout.place(pair.a)][1]
        name = pair.weight.removesuffix(".weight").replace(".", "_")
        layers[name] = torch.nn.Linear(inside, out, bias=False)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(layers))
    model: Any = get_peft_model(layers, config, adapter_name="a0")
    for k in range(1, len(arrivals)):
        model.add_adapter(f"a{k}", config)
    modules = dict(model.base_model.model.named_modules())
    for k, one in enumerate(arrivals):
        if not isinstance(one.contribution, TaskVector):
            raise TypeError(one.contribution)
        for pair in pairs:
            layer = modules[pair.weight.removesuffix(".weight").replace(".", "_")]
            tensors = one.contribution.tensors
            layer.lora_A[f"a{k}"].weight.data = torch.from_numpy(tensors[pair.a])
            layer.lora_B[f"a{k}"].weight.data = torch.from_numpy(tensors[pair.b])
    weights = [1 / len(arrivals)] * len(arrivals)
    names = [f"a{k}" for k in range(len(arrivals))]

    def merge() -> None:
        if "merged" in model.peft_config:
            model.delete_adapter("merged")
        model.base_model.add_weighted_adapter(
            names, weights, "merged", combination_type="svd", svd_rank=rank
        )

    return merge, modules


NEAR = 1e-3
"""How far products may be from peft's, which are brought down in float32."""


def main() -> int:
    """Measure, compare, print; 1 where products are other ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--rival-layers", type=int, default=2, help="0: without peft")
    parser.add_argument("--adapters", type=int, default=8)
    parser.add_argument("--rank", type=int, default=16)
    options = parser.parse_args()
    every = linears()

    def cohort(layers: int) -> list[Arrival]:
        kept = {n: s for n, s in every.items() if int(n.split(".")[2]) < layers}
        made = [adapter(kept, options.rank, f"c{k}") for k in range(options.adapters)]
        return [Arrival(f"c{k}", v, pairs=p) for k, (v, p) in enumerate(made)]

    given = cohort(options.layers)
    whole = cost(lambda: ours(given, options.rank), 2)
    print(
        f"{options.adapters} adapters of rank {options.rank}, {options.layers} layers,"
        f" {len(given[0].pairs)} linears: {whole.cpu:.2f} CPU s, {whole.wall:.2f} s"
    )
    if not options.rival_layers:
        return 0
    few = cohort(options.rival_layers)
    one = cost(lambda: ours(few, options.rank), 2)
    merge, modules = theirs(few, options.rank)
    other = cost(merge, 1)
    update, worst = ours(few, options.rank).update, 0.0
    for pair in few[0].pairs:
        module = pair.weight.removesuffix(".weight")
        layer = modules[module.replace(".", "_")]
        left = layer.lora_B["merged"].weight.detach().numpy()
        right = layer.lora_A["merged"].weight.detach().numpy()
        dense = layer.scaling["merged"] * (left @ right)
        mine = update[f"{module}.lora_B.weight"] @ update[f"{module}.lora_A.weight"]
        error = float(np.linalg.norm(mine - dense) / np.linalg.norm(dense))
        worst = max(worst, error)
    print(
        f"{options.rival_layers} layers: ours {one.cpu:.2f} CPU s, peft's svd"
        f" {other.cpu:.2f}: {other.cpu / one.cpu:.1f} times; products differ by at most"
        f" {worst:.1e}"
    )
    return int(worst > NEAR)


if __name__ == "__main__":
    raise SystemExit(main())

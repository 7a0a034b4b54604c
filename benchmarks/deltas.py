"""Deltas to press: shapes of known models, independent numbers, and trained changes."""

from collections.abc import Sequence

import numpy as np

from fedelta.client import data, models
from fedelta.client.adapters import adapted
from fedelta.client.training import TorchTrainer
from fedelta.protocols import seeds
from fedelta.protocols.vectors import Floats, TaskVector
from fedelta.server.runs import load

Shapes = dict[str, tuple[int, ...]]


def smollm2(layers: int = 30) -> Shapes:
    """SmolLM2-135M: 134,515,008 elements in 272 tensors."""
    shapes: Shapes = {"model.embed_tokens.weight": (49_152, 576)}
    shapes["model.norm.weight"] = (576,)
    for layer in range(layers):
        name = f"model.layers.{layer}"
        shapes |= {
            f"{name}.input_layernorm.weight": (576,),
            f"{name}.mlp.down_proj.weight": (576, 1536),
            f"{name}.mlp.gate_proj.weight": (1536, 576),
            f"{name}.mlp.up_proj.weight": (1536, 576),
            f"{name}.post_attention_layernorm.weight": (576,),
            f"{name}.self_attn.k_proj.weight": (192, 576),
            f"{name}.self_attn.o_proj.weight": (576, 576),
            f"{name}.self_attn.q_proj.weight": (576, 576),
            f"{name}.self_attn.v_proj.weight": (192, 576),
        }
    return shapes


def factors(shapes: Shapes, ends: Sequence[str], rank: int) -> Shapes:
    """The low-rank pairs of a model's matrices whose names end so."""
    found: Shapes = {}
    for name, shape in shapes.items():
        module = name.removesuffix(".weight")
        if module.endswith(tuple(ends)):
            found[f"{module}.lora_A.weight"] = (rank, shape[1])
            found[f"{module}.lora_B.weight"] = (shape[0], rank)
    return found


LINEAR = ("_proj",)


def heavy(shapes: Shapes, key: int = 0, scale: float = 1e-3) -> TaskVector:
    """Independent numbers with heavy tails (Student's t, 3 degrees of freedom).

    Drawn for 2^20 elements and turned about for the rest: what is timed is not this.
    """
    pool = 1 << 20
    normal = [seeds.normal(seeds.key("heavy", key, part), 0, pool) for part in range(4)]
    spread = np.sqrt(sum(one**2 for one in normal[1:]) / 3)
    drawn = (normal[0] / spread * scale).astype(np.float32)
    tensors: dict[str, Floats] = {}
    for at, (name, shape) in enumerate(shapes.items()):
        size = int(np.prod(shape))
        turned = np.roll(drawn, -int(seeds.words(key, at, 1)[0] % np.uint64(pool)))
        tensors[name] = np.resize(turned, size).reshape(shape)
    return TaskVector.of(tensors)


def trained(*sets: str) -> TaskVector:
    """What one client's first round changes, by a preset with some keys set."""
    config = load(overrides=sets)
    task = data.load(config)
    base = models.load_base(config, task.labels)
    name = min(task.clients)
    own, _ = task.split(name)
    start = base.start(config, models.run_key(config), 1)
    with adapted(base, config, start) as adapter:
        TorchTrainer(config).train(adapter, own, seeds.key("benchmark", name))
        return TaskVector.of(adapter.change())


ADAM, SGD = "train.optimizer=adamw", "train.optimizer=sgd"
FULL = ("train.mode=full", "train.steps=6")
REAL = {
    "LoRA, AdamW": (ADAM,),
    "LoRA, SGD": (SGD, "train.learning_rate=0.3"),
    "full, AdamW": (*FULL, ADAM, "train.learning_rate=3e-5"),
    "full, SGD": (*FULL, SGD, "train.learning_rate=0.05"),
}

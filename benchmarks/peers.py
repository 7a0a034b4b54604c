"""What others would send for the same change, from their public formats.

* Flower's plain `ArrayRecord`: written by Flower itself, tensor by tensor.
* NVIDIA FLARE's quantising filters, as documented (`ModelQuantizer`): fp16; 8 bits with
  a float32 maximum for every 4,096 values and a table of 256 float32 a tensor; 4 bits
  (fp4, nf4) with a float32 maximum for every 64 values and a table of 16. Computed, and
  held against the table of its documentation ("Message Quantization", 2.6 and later:
  nvflare.readthedocs.io/en/2.6/programming_guide/message_quantization.html), which has
  5716.26, 2858.13, 1429.06 + 1.54 and 714.53 + 89.33 MB.
* FL4Health's `SparseCooParameterPacker` (parameter_exchange/parameter_packer.py): what
  `torch.nonzero` gives, an int64 for every dimension of its tensor, beside the float32,
  for each value that is not zero. Computed.
* FlowerTune's template (`CommunicationTracker` of its strategy): the bytes of all
  arrays in both directions of training. Mistral-7B, LoRA of rank 32 on peft's default
  modules for it (queries and values), 200 rounds; of 20 clients a tenth is asked (the
  medical app, flower.ai/apps/flwrlabs/flowertune-llm-medical; finance has 50 clients).
  Computed.
"""

import numpy as np
from flwr.app import Array, ArrayRecord, Message, RecordDict

from fedelta.benchmarks.deltas import Shapes
from fedelta.protocols.messages import identify, to_bytes
from fedelta.protocols.places import largest
from fedelta.protocols.vectors import TaskVector

LLAMA: Shapes = {
    "embed_tokens": (128_256, 2048),
    "lm_head": (128_256, 2048),
    "norm": (2048,),
} | {
    f"layers.{layer}.{name}": shape
    for layer in range(16)
    for name, shape in {
        "q_proj": (2048, 2048),
        "k_proj": (512, 2048),
        "v_proj": (512, 2048),
        "o_proj": (2048, 2048),
        "gate_proj": (8192, 2048),
        "up_proj": (8192, 2048),
        "down_proj": (2048, 8192),
        "input_layernorm": (2048,),
        "post_attention_layernorm": (2048,),
    }.items()
}
"""Llama-3.2-1B as NVIDIA FLARE sends it: 147 tensors, the head apart."""

PUBLISHED = {"fp32": 5716.26, "fp16": 2858.13, "8 bit": 1430.60, "4 bit": 803.86}
"""MiB of a message, NVIDIA FLARE's documentation (8 and 4 bit with their scales)."""


def count(shapes: Shapes) -> int:
    """Elements."""
    return sum(int(np.prod(shape)) for shape in shapes.values())


def nvflare(shapes: Shapes) -> dict[str, int]:
    """Bytes by filter."""
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    total = sum(sizes)
    eight = sum(4 * -(-size // 4096) + 4 * 256 for size in sizes)
    four = sum(4 * -(-size // 64) + 4 * 16 for size in sizes)
    return {
        "fp32": 4 * total,
        "fp16": 2 * total,
        "8 bit": total + eight,
        "4 bit": -(-total // 2) + four,
    }


def flower(vector: TaskVector) -> int:
    """Bytes of a message with a plain array a tensor."""
    identify(1, 1)
    record = ArrayRecord({n: Array(one) for n, one in vector.tensors.items()})
    return len(to_bytes(Message(RecordDict({"arrays": record}), 7, "train")))


def fl4health(vector: TaskVector, density: float) -> int:
    """Bytes of the largest of each tensor as coordinates and values."""
    total = 0
    for one in vector.tensors.values():
        kept = largest(one.reshape(-1), -int(-density * one.size // 1)).size
        total += kept * (4 + 8 * max(one.ndim, 1))
    return total


FLOWERTUNE = {"layers": 32, "rank": 32, "rounds": 200, "asked": 2}
"""FlowerTune's template: Mistral-7B, rank 32 on queries and values, 2 of 20 clients."""


def flowertune() -> Shapes:
    """Its adapter's tensors."""
    shapes: Shapes = {}
    for layer in range(FLOWERTUNE["layers"]):
        for name, out in (("q_proj", 4096), ("v_proj", 1024)):
            shapes[f"{layer}.{name}.lora_A"] = (FLOWERTUNE["rank"], 4096)
            shapes[f"{layer}.{name}.lora_B"] = (out, FLOWERTUNE["rank"])
    return shapes

"""Vectors to send, and what is said of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from fedelta.protocols import seeds
from fedelta.protocols.codec import Context, Header, Payload, decode, encode
from fedelta.protocols.vectors import Floats, Layout, TaskVector

WIRES = (
    "fp32",
    "fp16",
    "fp8",
    "sign256",
    "sparse(density=0.05)",
    "sparse(density=0.3, values='fp16')",
    "sparse(density=0.5, values='sign256')",
    "sparse(density=1.0, values='fp32')",
    "dare(density=0.1)",
    "dare(density=0.35, values='fp8')",
    "dare(density=0.5, values='sign256')",
    "int8",
    "int4(rounding='stochastic')",
    "sparse(density=0.02, values='int4')",
    "sparse(density=0.4, values='int8b64')",
    "moved(values='sign256')",
    "masked(density=0.25, values='sign256')",
    "dare(density=0.3, values='int8', rounding='stochastic')",
)
BASE = "b" * 64


def header(layout: Layout, **changes: Any) -> Header:
    plain = Header("0123456789abcdef", 3, "ann", BASE, layout.fingerprint)
    return replace(plain, recipe="fedavg()", seed=11, weight=70, **changes)


def context(layout: Layout, **changes: Any) -> Context:
    return replace(Context(layout, "0123456789abcdef", 3, BASE), **changes)


def vector(shapes: dict[str, tuple[int, ...]], scale: float = 1e-3) -> TaskVector:
    """Normal numbers, the same on every machine."""
    tensors: dict[str, Floats] = {}
    for name, shape in shapes.items():
        drawn = seeds.normal(seeds.key("sample", name), 0, int(np.prod(shape)))
        tensors[name] = (drawn * scale).astype(np.float32).reshape(shape)
    return TaskVector.of(tensors)


SMALL = vector({"a": (3, 100), "b": (7,), "empty": (0, 4), "one": (1,), "c": (2, 300)})


def payload(given: TaskVector, text: str) -> bytes:
    return encode(given, text, header(given.layout))


def accepted(data: bytes, layout: Layout, **changes: Any) -> Payload:
    found = decode(data, context(layout, **changes))
    assert isinstance(found, Payload), found
    return found


Doubles = npt.NDArray[np.float64]


def _levels(size: int, power: int) -> Doubles:
    """Five levels: ties everywhere, and zeros."""
    some = seeds.words(power & 3, 0, size) % np.uint64(5)
    return some.astype(np.float64) - 2


def _wild(size: int, power: int) -> Doubles:
    """Every magnitude that a float32 has, nearly."""
    powers = (seeds.words(1, 0, size) % np.uint64(240)).astype(np.int64) - 140
    return np.ldexp(1 - 2 * seeds.uniform(power & 3, 0, size), powers)


KINDS: dict[str, Callable[[int, int], Doubles]] = {
    "normal": lambda size, power: seeds.normal(7, 0, size) * 10.0**power,
    "levels": _levels,
    "zeros": lambda size, _: np.zeros(size) * -1,
    "wild": _wild,
    "tiny": lambda size, power: np.ldexp(_levels(size, power), -149),
}


@st.composite
def vectors(draw: st.DrawFn) -> TaskVector:
    """Few tensors, of any finite numbers: empty, of one element, of several spans."""
    sizes = st.sampled_from([0, 1, 1, 2, 7, 8, 255, 256, 257, 600, 65_536, 65_600])
    tensors: dict[str, Floats] = {}
    for at in range(draw(st.integers(0, 4))):
        size = draw(sizes)
        kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
        values = kind(size, draw(st.integers(-9, 4)))
        tensors[f"t{at}"] = values.astype(np.float32).reshape(1, size)
    return TaskVector.of(tensors)

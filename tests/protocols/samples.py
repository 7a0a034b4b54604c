"""Vectors to send, and payloads to take apart, change and put together again."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard
from hypothesis import strategies as st

from fedelta.protocols import seeds
from fedelta.protocols.codec import Context, Header, Payload, decode, encode, wire
from fedelta.protocols.containers import pack, unpack
from fedelta.protocols.values import CODINGS
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


@dataclass
class Forgery:
    """A payload taken apart."""

    metadata: dict[str, str]
    tensors: dict[str, npt.NDArray[Any]]

    @classmethod
    def of(cls, data: bytes) -> "Forgery":
        """Take a payload apart."""
        found = unpack(data)
        copies = {name: tensor.copy() for name, tensor in found.tensors.items()}
        return cls(dict(found.metadata), copies)

    def planes(self) -> list[bytearray]:
        """The decompressed planes, chunk by chunk."""
        at, planes = 0, []
        for size in self.tensors["chunks"].reshape(-1).tolist():
            frame = self.tensors["frames"][at : at + size].tobytes()
            planes.append(bytearray(zstandard.decompress(frame) if frame else b""))
            at += size
        return planes

    def frames(self, frames: list[bytes]) -> "Forgery":
        """Put other frames in, with their sizes."""
        shape = self.tensors["chunks"].shape
        sizes = np.array([len(frame) for frame in frames], np.uint32)
        self.tensors["chunks"] = sizes.reshape(shape)
        self.tensors["frames"] = np.frombuffer(b"".join(frames), np.uint8)
        return self

    def press(self, planes: list[bytearray]) -> "Forgery":
        """Put other planes in."""
        press = zstandard.ZstdCompressor(level=1)
        return self.frames([press.compress(one) if one else b"" for one in planes])

    def data(self) -> bytes:
        """Put it together again."""
        return pack(self.metadata, self.tensors)


def changed(text: str, change: Callable[[Forgery], object]) -> bytes:
    """A payload of `SMALL` with something changed."""
    forgery = Forgery.of(payload(SMALL, text))
    change(forgery)
    return forgery.data()


def streams(data: bytes) -> list[bytes]:
    """What must be equal for two payloads to be the same."""
    forgery = Forgery.of(data)
    tables = [forgery.tensors[n].tobytes() for n in forgery.tensors if n != "frames"]
    head = repr(sorted(forgery.metadata.items())).encode()
    return [head, *tables[1:], *map(bytes, forgery.planes())]


def planes_of(text: str) -> int:
    kind = wire(text)
    return CODINGS[kind.values].planes + (kind.places == "gaps")

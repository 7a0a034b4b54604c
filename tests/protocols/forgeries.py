"""Payloads taken apart, changed, and put together again."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from fedelta.protocols.codec import Refusal, decode
from fedelta.protocols.containers import pack, unpack
from fedelta.protocols.refusals import Reason
from fedelta.protocols.vectors import Layout

from .samples import SMALL, context, payload


@dataclass
class Forgery:
    """A payload taken apart."""

    metadata: dict[str, str]
    tensors: dict[str, npt.NDArray[Any]]
    layout: Layout
    packed: bool = False

    @classmethod
    def of(cls, data: bytes, layout: Layout = SMALL.layout) -> "Forgery":
        """Take a payload apart; packed tables are laid open."""
        found = unpack(data)
        tensors = {name: tensor.copy() for name, tensor in found.tensors.items()}
        made = cls(dict(found.metadata), tensors, layout)
        if "tables" in tensors:
            made.lay_open(
                zstandard.decompress(tensors.pop("tables").tobytes() or EMPTY)
            )
        return made

    def lay_open(self, content: bytes) -> None:
        """The numbers of packed tables as tensors, before the others."""
        rows = np.frombuffer(content, np.uint8).reshape(4, -1)
        numbers = np.ascontiguousarray(rows.T).reshape(-1).view("<u4")
        chunks, spans = len(self.layout.chunks), len(self.layout.spans)
        mixed = self.metadata["wire"] == "mixed"
        rest = chunks + 2 * spans + mixed * len(self.layout.names)
        ends = np.cumsum([len(numbers) - rest, chunks, spans, spans])
        sizes, codes, kept, told, kinds = np.split(numbers.copy(), ends)
        opened = {
            "chunks": sizes.reshape(chunks, -1) if chunks else sizes,
            "codes": codes,
            "blocks": np.array([kept, told]).T.copy(),
            "kinds": kinds,
        }
        self.tensors = opened | self.tensors
        self.packed = True

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
        if not self.packed:
            return pack(self.metadata, self.tensors)
        told = {name: self.tensors[name] for name in ("chunks", "codes", "kinds")}
        kept, places = self.tensors["blocks"].T
        parts = [told["chunks"].reshape(-1), told["codes"], kept, places, told["kinds"]]
        numbers = np.concatenate(parts).astype("<u4").view(np.uint8).reshape(-1, 4)
        content = np.ascontiguousarray(numbers.T).tobytes()
        frame = zstandard.compress(content, 1) if content else b""
        rest = {n: one for n, one in self.tensors.items() if n not in (*told, "blocks")}
        return pack(self.metadata, {"tables": np.frombuffer(frame, np.uint8)} | rest)


EMPTY = zstandard.compress(b"", 1)


def changed(text: str, change: Callable[[Forgery], object]) -> bytes:
    """A payload of `SMALL` with something changed."""
    forgery = Forgery.of(payload(SMALL, text))
    change(forgery)
    return forgery.data()


def streams(data: bytes, layout: Layout = SMALL.layout) -> list[bytes]:
    """What must be equal for two payloads to be the same."""
    forgery = Forgery.of(data, layout)
    tables = [forgery.tensors[n].tobytes() for n in forgery.tensors if n != "frames"]
    head = repr(sorted(forgery.metadata.items())).encode()
    return [head, *tables[1:], *map(bytes, forgery.planes())]


Change = Callable[[Forgery], object]


def metadata(**changes: str) -> bytes:
    return changed("fp16", lambda forgery: forgery.metadata.update(changes))


def drop(name: str) -> Change:
    return lambda forgery: forgery.tensors.pop(name)


def add(name: str) -> Change:
    return lambda forgery: forgery.tensors.update({name: np.zeros(1, np.uint8)})


def planes(change: Callable[[list[bytearray]], object]) -> Change:
    def apply(forgery: Forgery) -> None:
        found = forgery.planes()
        change(found)
        forgery.press(found)

    return apply


def frames(change: Callable[[list[bytes]], object]) -> Change:
    def apply(forgery: Forgery) -> None:
        sizes = forgery.tensors["chunks"].reshape(-1)
        ends = np.cumsum(sizes)
        whole = forgery.tensors["frames"].tobytes()
        found = [
            whole[end - size : end]
            for end, size in zip(ends.tolist(), sizes.tolist(), strict=True)
        ]
        change(found)
        forgery.frames(found)

    return apply


def put(plane: int, at: int, *codes: int) -> Change:
    """Write one byte into some planes, starting with `plane`."""

    def change(found: list[bytearray]) -> None:
        for more, code in enumerate(codes):
            found[plane + more][at] = code

    return planes(change)


def table(name: str, at: int | tuple[int, int], value: int) -> Change:
    return lambda forgery: forgery.tensors[name].__setitem__(at, value)


def declares(size: int) -> bytes:
    """A frame that says it holds so much: 4 bytes of magic, 8 of size."""
    return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", size) + b"\x01\x00\x00"


def unsized(data: bytes) -> bytes:
    press = zstandard.ZstdCompressor(level=1, write_content_size=False)
    return press.compress(data)


def longer(found: list[bytearray]) -> None:
    found[0] += b"\x01"


def shorter(found: list[bytearray]) -> None:
    del found[0][-1]


def gap(place: int, code: int) -> Change:
    return planes(lambda found: found[-1].__setitem__(place, code))


def verdict(data: bytes, **changes: Any) -> Reason | None:
    found = decode(data, context(SMALL.layout, **changes))
    return found.reason if isinstance(found, Refusal) else None

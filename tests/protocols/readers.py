"""A second decoder, written from docs/format.md alone: no code of ours, no numpy."""

import hashlib
import json
import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

import zstandard

Shapes = dict[str, tuple[int, ...]]
MASK = (1 << 64) - 1


def spans(shapes: Shapes) -> list[tuple[int, int, int]]:
    """Tensor, first element and size of each span."""
    sizes = [math.prod(shapes[name]) for name in sorted(shapes)]
    return [
        (tensor, start, min(65_536, size - start))
        for tensor, size in enumerate(sizes)
        for start in range(0, size, 65_536)
    ]


def chunks(every: list[tuple[int, int, int]]) -> list[list[int]]:
    """The spans of each chunk."""
    found: list[list[int]] = []
    held = 0
    for index, (_, _, size) in enumerate(every):
        if not found or held + size > 1_048_576:
            found.append([])
            held = 0
        found[-1].append(index)
        held += size
    return found


def word(key: int, i: int) -> int:
    z = key + (i + 1) * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def drawn(key: int, size: int, density: float) -> Iterator[int]:
    every = round(1 / density)
    if abs(every * density - 1) < 1e-9:
        places = (j * every + word(key, j) % every for j in range(-(-size // every)))
        yield from (place for place in places if place < size)
    else:
        yield from (i for i in range(size) if (word(key, i) >> 11) / 2**53 < density)


def skipped(gaps: bytes) -> Iterator[int]:
    place = 0
    for gap in gaps:
        place += gap
        if gap < 255:
            yield place
            place += 1


def eighth(code: int) -> float:
    power, fraction = code >> 3 & 15, code & 7
    size = math.ldexp(8 + fraction, power - 10) if power else math.ldexp(fraction, -9)
    return -size if code >> 7 else size


def halves(data: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(data) // 2}e", data)


def signs(bits: bytes, means: bytes, count: int) -> list[float]:
    sizes = halves(means)
    return [
        -sizes[i // 256] if bits[i // 8] >> i % 8 & 1 else sizes[i // 256]
        for i in range(count)
    ]


def words(*planes: bytes) -> bytes:
    return b"".join(bytes(each) for each in zip(*planes, strict=True))


READ: dict[str, tuple[Callable[[int], list[int]], Callable[..., Any]]] = {
    "fp32": (
        lambda k: [k] * 4,
        lambda k, *planes: struct.unpack(f"<{k}f", words(*planes)),
    ),
    "fp16": (lambda k: [k] * 2, lambda _, *planes: halves(words(*planes))),
    "fp8": (lambda k: [k], lambda _, codes: [eighth(code) for code in codes]),
    "sign256": (
        lambda k: [-(-k // 8), -(-k // 256) * 2],
        lambda k, bits, means: signs(bits, means, k),
    ),
}


def wire(text: str) -> tuple[str, float, str]:
    """Places, density and values."""
    if "(" not in text:
        return "all", 1.0, text
    name, rest = text[:-1].split("(")
    density, values = (part.split("=")[1] for part in rest.split(", "))
    return name, float(density), values.strip("'")


def opened(data: bytes) -> tuple[dict[str, str], dict[str, bytes]]:
    """What the file says, and its tensors' bytes."""
    (size,) = struct.unpack("<Q", data[:8])
    head = json.loads(data[8 : 8 + size])
    said, body = head.pop("__metadata__"), data[8 + size :]
    ranges = {name: slice(*entry["data_offsets"]) for name, entry in head.items()}
    return said, {name: body[where] for name, where in ranges.items()}


def read(data: bytes, shapes: Shapes) -> dict[str, list[float]]:
    """Every tensor, flat."""
    said, parts = opened(data)
    places, density, values = wire(said["wire"])
    names = sorted(shapes)
    found = {name: [0.0] * math.prod(shapes[name]) for name in names}
    masks = {
        name: list(drawn(_key(said, name), len(found[name]), density))
        for name in names
        if places == "dare"
    }
    blocks = [
        struct.unpack("<II", parts["blocks"][at : at + 8])
        for at in range(0, len(parts.get("blocks", b"")), 8)
    ]
    every = spans(shapes)
    streams = _streams(parts, len(READ[values][0](0)) + (places == "sparse"))
    for group in chunks(every):
        planes = [next(streams) for _ in range(len(READ[values][0](0)))]
        gaps = next(streams) if places == "sparse" else b""
        for index in group:
            tensor, start, count = every[index]
            name = names[tensor]
            if places == "all":
                where = list(range(count))
            elif places == "dare":
                where = [i - start for i in masks[name] if start <= i < start + count]
            else:
                where = list(skipped(gaps[: blocks[index][1]]))
                gaps = gaps[blocks[index][1] :]
            widths = READ[values][0](len(where))
            taken = [p[:width] for p, width in zip(planes, widths, strict=True)]
            planes = [p[width:] for p, width in zip(planes, widths, strict=True)]
            scale = 1.0
            if "scales" in parts:
                scale = (
                    2.0 ** struct.unpack("b", parts["scales"][tensor : tensor + 1])[0]
                )
            decoded = READ[values][1](len(where), *taken)
            for place, value in zip(where, decoded, strict=True):
                found[name][start + place] = value * scale
    return found


def _key(said: dict[str, str], name: str) -> int:
    parts = ["mask", int(said["seed"]), said["run"], int(said["round"]), said["client"]]
    text = json.dumps([*parts, name], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _streams(parts: dict[str, bytes], planes: int) -> Iterator[bytes]:
    at = 0
    for (size,) in struct.iter_unpack("<I", parts["chunks"]):
        frame = parts["frames"][at : at + size]
        yield zstandard.decompress(frame) if frame else b""
        at += size

"""A second decoder, written from docs/format.md alone: no code of ours, no numpy."""

import hashlib
import json
import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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


def halfbytes(data: bytes) -> Iterator[int]:
    for byte in data:
        yield from (byte & 15, byte >> 4)


def stepped(codes: list[int], steps: bytes, group: int) -> list[float]:
    sizes = halves(steps)
    return [code * sizes[i // group] for i, code in enumerate(codes)]


def words(*planes: bytes) -> bytes:
    return b"".join(bytes(each) for each in zip(*planes, strict=True))


def bytewise(group: int) -> tuple[Callable[[int], list[int]], Callable[..., Any]]:
    return (
        lambda k: [k, -(-k // group) * 2],
        lambda k, codes, steps: stepped(
            list(struct.unpack(f"{k}b", codes)), steps, group
        ),
    )


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
    "int8": bytewise(256),
    "int8b64": bytewise(64),
    "int4": (
        lambda k: [-(-k // 2), -(-k // 64) * 2],
        lambda k, codes, steps: stepped(
            [(code ^ 8) - 8 for code in halfbytes(codes)][:k], steps, 64
        ),
    ),
}
VALUES = list(READ)


def wire(text: str) -> tuple[str, float, str]:
    """Places, density and values."""
    name, _, rest = text.partition("(")
    given = dict(part.split("=") for part in rest[:-1].split(", ") if part)
    values = given.get("values", name).strip("'")
    return name, float(given.get("density", 1)), values


def opened(data: bytes) -> tuple[dict[str, str], dict[str, bytes]]:
    """What the file says, and its tensors' bytes."""
    (size,) = struct.unpack("<Q", data[:8])
    head = json.loads(data[8 : 8 + size])
    said, body = head.pop("__metadata__"), data[8 + size :]
    ranges = {name: slice(*entry["data_offsets"]) for name, entry in head.items()}
    return said, {name: body[where] for name, where in ranges.items()}


@dataclass
class Tables:
    """What the tables say.

    Frames' sizes; by chunk the code of places; by span values and bytes of places; by
    tensor how places and values are written.
    """

    sizes: list[int]
    codes: list[int]
    kept: list[int]
    told: list[int]
    how: list[tuple[str, str, float]]


def tables(
    said: dict[str, str], parts: dict[str, bytes], counts: tuple[int, int, int]
) -> Tables:
    chunked, spanned, tensors = counts
    name, density, values = wire(said["wire"])
    places = {"sparse": "gaps", "moved": "gaps", "dare": "mask", "masked": "mask"}
    how = [(places.get(name, "all"), values, density)] * tensors
    numbers = list(struct.unpack(f"<{len(parts.get('chunks', b'')) // 4}I",
                                 parts.get("chunks", b"")))  # fmt: skip
    if said["version"] == "1":
        blocks = list(struct.iter_unpack("<II", parts.get("blocks", b"")))
        kept, told = [b[0] for b in blocks], [b[1] for b in blocks]
        return Tables(numbers, [0] * chunked, kept, told, how)
    content = zstandard.decompress(parts["tables"])
    count = len(content) // 4
    planes = [content[at * count : (at + 1) * count] for at in range(4)]
    numbers = list(struct.unpack(f"<{count}I", words(*planes)))
    if name == "mixed":
        kinds, numbers = numbers[count - tensors :], numbers[: count - tensors]
        how = [kind(one) for one in kinds]
    at = len(numbers) - 2 * spanned
    kept, told = numbers[at : at + spanned], numbers[at + spanned :]
    return Tables(numbers[: at - chunked], numbers[at - chunked : at], kept, told, how)


def kind(number: int) -> tuple[str, str, float]:
    how, values = divmod(number, 16)
    places = ["all", "gaps"][how] if how < 2 else "mask"
    return places, VALUES[values], 2.0 ** (1 - how) if how > 1 else 1.0


def told_places(code: int, told: bytes, low: bytes, count: int) -> list[int]:
    """The places of a span."""
    bits = [at for at in range(8 * len(told)) if told[at // 8] >> at % 8 & 1]
    if code == 0:
        return list(skipped(told))
    if code == 1:
        return bits
    found, before = [], -1
    for at, (bit, byte) in enumerate(zip(bits, low, strict=True)):
        above = bit - (bits[at - 1] if at else -1) - 1
        before += 256 * above + byte + 1
        found.append(before)
    assert len(found) == count
    return found


class Cursor:
    """Bytes that are taken from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        """The next so many."""
        found, self.data = self.data[:count], self.data[count:]
        return found


def read(data: bytes, shapes: Shapes) -> dict[str, list[float]]:
    """Every tensor, flat."""
    said, parts = opened(data)
    names = sorted(shapes)
    found = {name: [0.0] * math.prod(shapes[name]) for name in names}
    every = spans(shapes)
    groups = chunks(every)
    told = tables(said, parts, (len(groups), len(every), len(names)))
    mixed = said["wire"] == "mixed"
    codings = VALUES if mixed else [told.how[0][1]] if told.how else []
    frames = _frames(parts["frames"], told.sizes)
    for group, code in zip(groups, told.codes, strict=True):
        planes = {
            name: [Cursor(next(frames)) for _ in READ[name][0](0)] for name in codings
        }
        packed = said["version"] == "2"
        low = Cursor(next(frames) if packed else b"")
        places = Cursor(next(frames) if packed or "blocks" in parts else b"")
        for index in group:
            tensor, start, _ = every[index]
            name = names[tensor]
            _, values, _ = told.how[tensor]
            kept = told.kept[index] if told.kept else 0
            spelled = places.take(told.told[index]) if told.told else b""
            lows = low.take(kept) if code == 2 and spelled else b""
            where = _where(said, name, every[index], told.how[tensor], len(found[name]))
            if where is None:
                where = told_places(code, spelled, lows, kept)
            widths, decode = READ[values]
            cursors = zip(planes[values], widths(len(where)), strict=True)
            decoded = decode(len(where), *(one.take(width) for one, width in cursors))
            scale = _scale(parts, tensor)
            for place, value in zip(where, decoded, strict=True):
                found[name][start + place] = value * 2.0**scale
    return found


def _where(
    said: dict[str, str],
    name: str,
    span: tuple[int, int, int],
    how: tuple[str, str, float],
    size: int,
) -> list[int] | None:
    """The places of a span; None where the span spells them."""
    _, start, count = span
    shared = said["wire"].startswith(("masked", "mixed"))
    if how[0] == "mask":
        mask = drawn(_key(said, name, shared=shared), size, how[2])
        return [i - start for i in mask if start <= i < start + count]
    return list(range(count)) if how[0] == "all" else None


def _scale(parts: dict[str, bytes], tensor: int) -> int:
    if "scales" not in parts:
        return 0
    (found,) = struct.unpack("b", parts["scales"][tensor : tensor + 1])
    return int(found)


def _key(said: dict[str, str], name: str, *, shared: bool) -> int:
    who = [] if shared else [said["client"]]
    parts = ["shared" if shared else "mask", int(said["seed"]), said["run"]]
    text = json.dumps([*parts, int(said["round"]), *who, name], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _frames(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        frame = data[at : at + size]
        yield zstandard.decompress(frame) if frame else b""
        at += size

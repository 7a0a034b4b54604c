"""What is in a file that travelled: its header, its streams, and how small it is.

Nothing but the file is read: no layout, no model, no run.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..protocols.containers import Container, unpack
from ..protocols.errors import ConfigError, PayloadError
from ..protocols.frames import inflated
from ..protocols.refusals import Reason, RefusedError
from ..protocols.tables import Shape, scaled
from ..protocols.values import CODINGS
from ..protocols.wires import VALUES, Choice, Wire, wire

KINDS = {
    "fedelta.payload": "payload",
    "fedelta.state": "a region's state",
    "fedelta.snapshot": "snapshot of a version",
}
_LONGEST = 1 << 26  # bytes of a header: a state's manifest may be long


def inspect(path: Path) -> dict[str, Any]:
    """What a file says and holds.

    Returns:
        "file", "bytes", "kind", "header" (texts as they are) and, of a payload, "size"
        (elements; None where only the layout knows), "kept", "density",
        "bits_per_element", "bits_per_value", "dense_fp32" (bytes), "times_smaller",
        "streams" (bytes by stream), "formats" (tensors by format) and "positions"
        (bytes, the entropy floor log2 C(n, k) in bytes, and their ratio).

    Raises:
        PayloadError: it is no file of ours, or is damaged.
        ConfigError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    try:
        container = unpack(data, longest=_LONGEST)
        kind = container.metadata.get("format", "")
        if kind not in KINDS:
            raise PayloadError(f"{path} is a safetensors file, but none of fedelta's")
        found = {"file": str(path), "bytes": len(data), "kind": KINDS[kind]}
        found["header"] = dict(container.metadata)
        if kind == "fedelta.payload":
            found |= _payload(container, len(data))
        else:
            found["streams"] = {n: t.nbytes for n, t in container.tensors.items()}
    except (RefusedError, KeyError, ValueError) as error:
        said = error.refusal if isinstance(error, RefusedError) else repr(error)
        raise PayloadError(f"{path}: {said}") from None
    return found


def formats(data: bytes) -> dict[str, int]:
    """How many tensors of a payload travel in which format, such as {"int4 gaps": 2}.

    Raises:
        RefusedError: it is no payload.
    """
    container = unpack(data, longest=_LONGEST)
    said = container.metadata
    return _streams(container, wire(said["wire"]), int(said["version"]))[1]


def floor(size: int, kept: int) -> float:
    """Bits that which k of n elements are kept takes: log2 C(n, k).

    Example:
        >>> round(floor(4, 2), 3), floor(9, 0)
        (2.585, 0.0)
    """
    rest = math.lgamma(kept + 1) + math.lgamma(size - kept + 1)
    return max(0.0, (math.lgamma(size + 1) - rest) / math.log(2))


def _payload(container: Container, length: int) -> dict[str, Any]:
    said = container.metadata
    kind, version = wire(said["wire"]), int(said["version"])
    kept = int(said["kept"])
    size = _size(said, kind, kept)
    frames, formats = _streams(container, kind, version)
    tables = length - container.tensors["frames"].nbytes
    positions = frames.pop("positions", 0)
    streams = frames | {"header and tables": tables}
    if positions:
        streams["positions"] = positions
    found: dict[str, Any] = {
        "size": size,
        "kept": kept,
        "density": kept / size if size else None,
        "bits_per_element": 8 * length / size if size else None,
        "bits_per_value": 8 * length / kept if kept else None,
        "dense_fp32": 4 * size if size else None,
        "times_smaller": 4 * size / length if size else None,
        "streams": streams,
        "formats": formats,
    }
    if positions and size and kind.places == "gaps":
        least = floor(size, kept) / 8
        over = positions / least if least else None
        found["positions"] = {"bytes": positions, "floor": least, "over_floor": over}
    return found


def _size(said: Mapping[str, str], kind: Wire, kept: int) -> int | None:
    if "size" in said:
        return int(said["size"])
    return kept if kind.places == "all" else None


def _streams(
    container: Container, kind: Wire, version: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes by stream, and tensors by format."""
    shape = Shape.of(kind, version)
    names = [name for name in shape.codings for _ in range(CODINGS[name].planes)]
    names += ["positions"] * (shape.low + shape.places)
    tensors = container.tensors["scales"].size if scaled(kind) else 0
    kinds: list[Choice | None] = [kind.choice] * tensors
    if version == 1:
        sizes = container.tensors["chunks"].reshape(-1, len(names)).sum(0)
    else:
        said = container.metadata
        chunks, spans = int(said["chunks"]), int(said["spans"])
        mixed = tensors if kind.places == "mixed" else 0
        count = chunks * len(names) + chunks + 2 * spans + mixed
        frame = container.tensors["tables"]
        content = inflated(frame, 4 * count, Reason.SHAPE_MISMATCH)
        rows = np.frombuffer(content, np.uint8).reshape(4, count)
        numbers = np.ascontiguousarray(rows.T).reshape(-1).view("<u4")
        sizes = numbers[: chunks * len(names)].reshape(-1, len(names)).sum(0)
        if mixed:
            kinds = [Choice.of(one) for one in numbers[count - mixed :].tolist()]
    found: dict[str, int] = {}
    for name, bytes_ in zip(names, sizes.tolist(), strict=True):
        if bytes_:
            found[name] = found.get(name, 0) + bytes_
    return found, _formats(kinds)


def _formats(kinds: list[Choice | None]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in kinds:
        if one is not None and one.values in VALUES:
            name = f"{one.values} {one.places}".removesuffix(" all")
            found[name] = found.get(name, 0) + 1
    return found

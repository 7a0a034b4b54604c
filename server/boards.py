"""A run's record as TensorBoard events: scalars, written without TensorBoard.

An events file is a row of TFRecords (length, its checksum, data, its checksum), each
holding an `Event` protobuf with a wall time, a step and one tagged number.
"""

import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .records import Line

VERSION = b"brain.Event:2"
_POLYNOMIAL = 0x82F63B78


class Board:
    """A listener that writes events.

    Evaluations become ``evaluation/METRIC`` by round, rounds ``bytes/...``,
    ``replies/...`` and ``seconds/...``, training losses ``loss/CLIENT``, comparisons
    ``alone/METRIC`` (the mean over clients is TensorBoard's business).

    Args:
        folder: where the events file goes; an old one of ours is replaced, since a
            resumed run tells its whole record again.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "events.out.tfevents.fedelta"
        self._started = time.time()
        self._path.write_bytes(_record(_event(self._started, 0, _bytes(3, VERSION))))

    def __call__(self, line: Line) -> None:
        """Take one line of the record in."""
        step, wall = int(line.get("round") or 0), self._started + line.get("at", 0.0)
        data = b"".join(
            _record(_event(wall, step, _bytes(5, _value(tag, float(value)))))
            for tag, value in scalars(line)
            if value is not None
        )
        if data:
            with self._path.open("ab") as file:
                file.write(data)


def scalars(line: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    """The tagged numbers of one line.

    Example:
        >>> list(scalars({"kind": "evaluation", "round": 1, "metrics": {"loss": 2}}))
        [('evaluation/loss', 2)]
    """
    kind = line["kind"]
    if kind == "evaluation":
        where = "clients/" if line.get("where") == "clients" else ""
        for name, value in line["metrics"].items():
            yield f"evaluation/{where}{name}", value
    elif kind == "contribution" and line["verdict"] == "accepted":
        yield f"loss/{line['client']}", line.get("loss")
        yield f"norm/{line['client']}", line.get("norm")
    elif kind == "round":
        for name in ("up", "down"):
            yield f"bytes/{name}", line.get(name)
        yield "replies/accepted", line.get("accepted")
        yield "replies/refused", sum((line.get("refused") or {}).values())
        for name, value in (line.get("phases") or {}).items():
            yield f"seconds/{name}", value


def _event(wall: float, step: int, what: bytes) -> bytes:
    return b"\x09" + struct.pack("<d", wall) + b"\x10" + _varint(step) + what


def _value(tag: str, value: float) -> bytes:
    """A `Summary` with one `Value`."""
    number = b"\x15" + struct.pack("<f", value)
    return _bytes(1, _bytes(1, tag.encode()) + number)


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004  seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _record(data: bytes) -> bytes:
    head = struct.pack("<Q", len(data))
    return head + _checksum(head) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    """CRC-32C, rotated and shifted as TFRecord has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    turned = (crc >> 15 | crc << 17) + 0xA282EAD8
    return struct.pack("<I", turned & 0xFFFFFFFF)


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = tuple(_entry(byte) for byte in range(256))

"""Files that are no container of ours: each a named refusal."""

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest

from fedelta.protocols.containers import pack
from fedelta.protocols.refusals import Reason

from .forgeries import verdict
from .samples import SMALL, payload

PLAIN = payload(SMALL, "fp16")


def raw(head: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(head)) + head + body


def said(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The plain payload with another header, in canonical form."""
    (size,) = struct.unpack("<Q", PLAIN[:8])
    head = json.loads(PLAIN[8 : 8 + size])
    change(head)
    text = json.dumps(head, separators=(",", ":")).encode()
    padded = text + b" " * (-len(text) % 8)
    return raw(padded, PLAIN[8 + size :])


def entry(name: str, **changes: Any) -> bytes:
    return said(lambda head: head[name].update(changes))


def zipped() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "hello")
    return buffer.getvalue()


def _move(head: dict[str, Any], name: str, first: int, last: int) -> None:
    low, high = head[name]["data_offsets"]
    head[name]["data_offsets"] = [low + first, high + last]


CONTAINERS: dict[str, tuple[bytes, Reason]] = {
    "empty": (b"", Reason.BAD_HEADER),
    "under 8 bytes": (b"\x01\x02\x03", Reason.BAD_HEADER),
    "header of 2^63": (struct.pack("<Q", 1 << 63) + b"{}", Reason.BAD_HEADER),
    "header past the file": (struct.pack("<Q", 99) + b"{}", Reason.BAD_HEADER),
    "header above 1 MiB": (raw(b" " * (1 << 20) + b" "), Reason.HEADER_SIZE),
    "50 MB of metadata": (
        raw(b'{"__metadata__":{"a":"' + b"a" * 50_000_000 + b'"}}'),
        Reason.HEADER_SIZE,
    ),
    "not UTF-8": (raw(b'{"\xff": 1}'), Reason.BAD_HEADER),
    "not JSON": (raw(b"{nonsense"), Reason.BAD_HEADER),
    "JSON list": (raw(b"[1, 2]"), Reason.BAD_HEADER),
    "JSON number": (raw(b"1" * 5000), Reason.BAD_HEADER),
    "deep nesting": (raw(b"[" * 60_000), Reason.BAD_HEADER),
    "key twice": (raw(b'{"a": 1, "a": 2}'), Reason.BAD_HEADER),
    "metadata no map": (raw(b'{"__metadata__":[]}'), Reason.BAD_HEADER),
    "metadata no texts": (raw(b'{"__metadata__":{"a":1}}'), Reason.BAD_HEADER),
    "entry no map": (raw(b'{"a":3}'), Reason.BAD_HEADER),
    "entry lacks": (raw(b'{"a":{"dtype":"U8"}}'), Reason.BAD_HEADER),
    "pickle": (pickle.dumps({"a": [1.0] * 50}), Reason.BAD_HEADER),
    "zip": (zipped(), Reason.BAD_HEADER),
    "polyglot": (PLAIN + zipped(), Reason.BAD_OFFSETS),
    "one trailing byte": (PLAIN + b"\0", Reason.BAD_OFFSETS),
    "one byte less": (PLAIN[:-1], Reason.BAD_OFFSETS),
    "offset past the end": (
        said(lambda head: _move(head, "frames", 0, 4000)),
        Reason.BAD_OFFSETS,
    ),
    "negative offset": (entry("chunks", data_offsets=[-8, 0]), Reason.BAD_OFFSETS),
    "reversed offsets": (entry("chunks", data_offsets=[8, 0]), Reason.BAD_OFFSETS),
    "hole": (said(lambda head: _move(head, "scales", 1, 1)), Reason.BAD_OFFSETS),
    "overlap": (said(lambda head: _move(head, "scales", -1, -1)), Reason.BAD_OFFSETS),
    "offset no number": (entry("chunks", data_offsets=["0", 8]), Reason.BAD_HEADER),
    "offset a bool": (entry("chunks", data_offsets=[False, 8]), Reason.BAD_HEADER),
    "shape and bytes": (entry("chunks", shape=[1, 3]), Reason.SHAPE_MISMATCH),
    "negative shape": (entry("chunks", shape=[-1, -2]), Reason.SHAPE_MISMATCH),
    "shape overflows": (
        entry("chunks", shape=[1 << 32, 1 << 32]),
        Reason.SHAPE_OVERFLOW,
    ),
    "shape of a huge zero": (
        entry("chunks", shape=[1 << 62, 4, 0]),
        Reason.SHAPE_OVERFLOW,
    ),
    "complex": (entry("chunks", dtype="C64"), Reason.BAD_DTYPE),
    "bf16": (entry("chunks", dtype="BF16"), Reason.BAD_DTYPE),
    "dtype no text": (entry("chunks", dtype=["U32"]), Reason.BAD_DTYPE),
    "big-endian": (entry("chunks", dtype=">u4"), Reason.BAD_DTYPE),
    "float table": (entry("chunks", dtype="F32"), Reason.BAD_DTYPE),
    "signed table": (entry("chunks", dtype="I32"), Reason.BAD_DTYPE),
    "wide table": (entry("chunks", dtype="I64", shape=[1, 1]), Reason.BAD_DTYPE),
    "table of another shape": (entry("chunks", shape=[2, 1]), Reason.SHAPE_MISMATCH),
    "blanks": (
        raw(b" " + PLAIN[8 : 8 + struct.unpack("<Q", PLAIN[:8])[0]] + b" " * 7)
        + PLAIN[8 + struct.unpack("<Q", PLAIN[:8])[0] :],
        Reason.BAD_HEADER,
    ),
    "no metadata": (pack({}, {}), Reason.BAD_VERSION),
    "another file": (
        pack({"format": "pt"}, {"w": np.zeros(3, np.float32)}),
        Reason.BAD_VERSION,
    ),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_container(name: str) -> None:
    data, reason = CONTAINERS[name]
    assert verdict(data, max_bytes=1 << 30) == reason

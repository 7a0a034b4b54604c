"""What a fuzzer's bytes are made into, and what must hold of whatever comes out.

The first byte chooses: the rest is a payload as it is, or it changes the streams, the
tables and the header of a good payload, which is put together again so that the
decoder gets past its container. Whatever it is, `decode` gives a payload in canonical
form or a refusal, and raises nothing.
"""

from collections.abc import Callable

import numpy as np

from fedelta.protocols.codec import Choice, Payload, Refusal, decode, encode, repack
from fedelta.protocols.vectors import TaskVector

from ..protocols.forgeries import Forgery, streams
from ..protocols.samples import SMALL, WIRES, context, header

MIXED = tuple(
    Choice(values, places, density)  # type: ignore[arg-type]
    for values, places, density in (
        ("int4", "gaps", 0.2),
        ("int8", "all", 1.0),
        ("sign256", "seeded", 0.5),
        ("fp8", "gaps", 0.0),
        ("fp16", "gaps", 0.5),
    )
)
GOOD = [encode(SMALL, text, header(SMALL.layout)) for text in WIRES]
GOOD.append(encode(SMALL, "mixed", header(SMALL.layout), MIXED))
EDITS = 6
"""Bytes of an edit: what, where (2), value (2), how."""


def payload_of(data: bytes) -> bytes:
    """The bytes that the decoder is given."""
    if not data or data[0] >= len(GOOD):
        return data[1:]
    forgery = Forgery.of(GOOD[data[0]])
    planes = forgery.planes()
    for at in range(1, len(data) - EDITS + 1, EDITS):
        _edit(forgery, planes, data[at : at + EDITS])
    forgery.press(planes)
    return forgery.data()


def _edit(forgery: Forgery, planes: list[bytearray], edit: bytes) -> None:
    what, where = edit[0], int.from_bytes(edit[1:3], "little")
    value, how = int.from_bytes(edit[3:5], "little"), edit[5]
    tables = [name for name in forgery.tensors if name not in ("frames", "chunks")]
    if what < len(planes) and planes[what]:
        plane = planes[what]
        changes: list[Callable[[], object]] = [
            lambda: plane.__setitem__(where % len(plane), value & 255),
            lambda: plane.insert(where % len(plane), value & 255),
            lambda: plane.pop(where % len(plane)),
            lambda: plane.__setitem__(slice(0, 2), value.to_bytes(2, "little")),
        ]
        changes[how % len(changes)]()
    elif tables and what & 1:
        table = forgery.tensors[tables[how % len(tables)]].reshape(-1)
        if table.size:
            table[where % table.size] = np.array(value, np.uint16).astype(table.dtype)
    elif forgery.metadata:
        name = sorted(forgery.metadata)[where % len(forgery.metadata)]
        forgery.metadata[name] = str(value) if how & 1 else chr(value % 0xD800)


def judge(data: bytes) -> bool:
    """Decode whatever the bytes make; True where it was accepted.

    Raises:
        AssertionError: something that must hold does not.
    """
    given = payload_of(data)
    found = decode(given, context(SMALL.layout))
    if isinstance(found, Refusal):
        return False
    assert isinstance(found, Payload)
    tensors = found.tensors()
    assert all(np.isfinite(one).all() for one in tensors.values())
    assert streams(repack(found)) == streams(given)
    again = decode(repack(found), context(SMALL.layout))
    assert isinstance(again, Payload)
    assert TaskVector.of(again.tensors()).layout == SMALL.layout
    assert all((again.tensors()[n] == one).all() for n, one in tensors.items())
    return True

"""Streams that say what no encoder of ours says: each a named refusal."""

import numpy as np
import pytest
import zstandard

from fedelta.protocols.codec import Refusal, decode
from fedelta.protocols.refusals import Reason
from fedelta.protocols.vectors import TaskVector

from .forgeries import (
    Change,
    Forgery,
    changed,
    declares,
    frames,
    gap,
    longer,
    planes,
    put,
    shorter,
    table,
    unsized,
    verdict,
)
from .samples import SMALL, WIRES, accepted, context, payload

SPARSE = "sparse(density=0.08, values='fp16')"


def escape(forgery: Forgery) -> None:
    """Spell out that nothing follows the last place of the first tensor."""
    planes(lambda found: found[-1].insert(24, 255))(forgery)
    forgery.tensors["blocks"][0, 1] = 25


STREAMS: dict[str, tuple[str, Change, Reason]] = {
    # not finite
    "fp32 NaN": ("fp32", put(0, 5, 1, 0, 0xC0, 0x7F), Reason.NON_FINITE),
    "fp32 inf": ("fp32", put(0, 5, 0, 0, 0x80, 0x7F), Reason.NON_FINITE),
    "fp32 -inf": ("fp32", put(0, 5, 0, 0, 0x80, 0xFF), Reason.NON_FINITE),
    "fp16 NaN": ("fp16", put(0, 5, 1, 0x7E), Reason.NON_FINITE),
    "fp16 inf": ("fp16", put(0, 5, 0, 0x7C), Reason.NON_FINITE),
    "fp8 NaN": ("fp8", put(0, 5, 0x7F), Reason.NON_FINITE),
    "fp8 -NaN": ("fp8", put(0, 5, 0xFF), Reason.NON_FINITE),
    "sparse NaN": ("sparse(0.3)", put(0, 5, 0x7F), Reason.NON_FINITE),
    "dare inf": ("dare(0.5)", put(0, 5, 0, 0x7C), Reason.NON_FINITE),
    "mean inf": ("sign256", put(1, 1, 0x7C), Reason.NON_FINITE),
    # one spelling
    "fp32 -0": ("fp32", put(0, 5, 0, 0, 0, 0x80), Reason.NOT_CANONICAL),
    "fp16 -0": ("fp16", put(0, 5, 0, 0x80), Reason.NOT_CANONICAL),
    "fp8 -0": ("fp8", put(0, 5, 0x80), Reason.NOT_CANONICAL),
    "zero in sparse": ("sparse(0.3)", put(0, 5, 0), Reason.NOT_CANONICAL),
    "-0 in sparse": ("sparse(0.3)", put(0, 5, 0x80), Reason.NOT_CANONICAL),
    "negative mean": ("sign256", put(1, 1, 0x88), Reason.NOT_CANONICAL),
    "minus before zero": (
        "sign256",
        planes(lambda found: found[1].__setitem__(slice(0, 2), b"\0\0")),
        Reason.NOT_CANONICAL,
    ),
    "bits after the last": ("sign256", put(0, 38, 0x88), Reason.NOT_CANONICAL),
    "codes too low": (
        "fp8",
        planes(lambda found: found[0].__setitem__(slice(300, 307), bytes([1] * 7))),
        Reason.NOT_CANONICAL,
    ),
    "scale of zeros": ("fp16", table("scales", 3, 3), Reason.NOT_CANONICAL),
    "value above the top": ("fp16", put(0, 5, 0, 0x7B), Reason.NOT_CANONICAL),
    "scale out of range": ("fp16", table("scales", 0, 112), Reason.BAD_SCALE),
    "scale below range": ("fp8", table("scales", 0, -126), Reason.BAD_SCALE),
    # places
    "place past its tensor": (SPARSE, gap(0, 254), Reason.INDEX_RANGE),
    "place after an escape": (SPARSE, gap(1, 255), Reason.INDEX_RANGE),
    "more places than values": (
        SPARSE,
        planes(lambda found: found[-1].__setitem__(-1, 255)),
        Reason.LENGTH_MISMATCH,
    ),
    "an escape to nowhere": (SPARSE, escape, Reason.NOT_CANONICAL),
    "fewer values": (SPARSE, planes(shorter), Reason.LENGTH_MISMATCH),
    "more values": (SPARSE, planes(longer), Reason.LENGTH_MISMATCH),
    "table: more than places": (
        SPARSE,
        table("blocks", (0, 0), 301),
        Reason.TOO_DENSE,
    ),
    "table: above the density": (
        SPARSE,
        lambda forgery: forgery.tensors["blocks"].__setitem__(0, [25, 25]),
        Reason.TOO_DENSE,
    ),
    "table: 2^32 - 1": (
        SPARSE,
        table("blocks", (0, 0), (1 << 32) - 1),
        Reason.TOO_DENSE,
    ),
    "table: fewer gaps": (SPARSE, table("blocks", (0, 1), 23), Reason.LENGTH_MISMATCH),
    "table: many gaps": (SPARSE, table("blocks", (0, 1), 400), Reason.LENGTH_MISMATCH),
    # frames
    "dense, one more": ("fp16", planes(longer), Reason.SHAPE_MISMATCH),
    "dense, one less": ("fp16", planes(shorter), Reason.SHAPE_MISMATCH),
    "bomb by declaration": (
        "fp16",
        frames(lambda found: found.__setitem__(0, declares(1 << 40))),
        Reason.INFLATED_SIZE,
    ),
    "bomb by ratio": (
        "fp16",
        frames(
            lambda found: found.__setitem__(0, zstandard.compress(bytes(1 << 24), 1))
        ),
        Reason.INFLATED_SIZE,
    ),
    "size not declared": (
        "fp16",
        frames(lambda found: found.__setitem__(0, unsized(bytes(1011)))),
        Reason.INFLATED_SIZE,
    ),
    "frame stuffed": (
        "fp16",
        frames(lambda found: found.__setitem__(0, found[0] + bytes(4000))),
        Reason.INFLATED_SIZE,
    ),
    "frame and another": (
        "fp16",
        frames(lambda found: found.__setitem__(0, found[0] + found[1][:40])),
        Reason.BAD_STREAM,
    ),
    "frame cut": (
        "fp16",
        frames(lambda found: found.__setitem__(0, found[0][:-9])),
        Reason.BAD_STREAM,
    ),
    "no frame": (
        "fp16",
        frames(lambda found: found.__setitem__(0, b"")),
        Reason.BAD_STREAM,
    ),
    "no zstd": (
        "fp16",
        frames(lambda found: found.__setitem__(0, b"PK\3\4" + bytes(90))),
        Reason.BAD_STREAM,
    ),
    "frames and table": ("fp16", table("chunks", (0, 0), 7), Reason.BAD_OFFSETS),
}


@pytest.mark.parametrize("name", STREAMS)
def test_stream(name: str) -> None:
    text, change, reason = STREAMS[name]
    data = changed(text, change)
    assert verdict(data) == reason, decode(data, context(SMALL.layout))


def test_nothing_changed_is_accepted() -> None:
    for text in WIRES:
        assert verdict(changed(text, lambda _: None)) is None
        assert verdict(changed(text, planes(lambda _: None))) is None


def test_frames_of_nothing() -> None:
    """No value, no frame; a frame of nothing is refused."""
    empty = TaskVector.of({"w": np.zeros((3, 3), np.float32)})
    data = payload(empty, SPARSE)
    assert accepted(data, empty.layout).kept == 0
    forgery = Forgery.of(data, empty.layout)
    forgery.frames([zstandard.compress(b"", 1)] * 4)
    found = decode(forgery.data(), context(empty.layout))
    assert isinstance(found, Refusal)
    assert found.reason == Reason.INFLATED_SIZE

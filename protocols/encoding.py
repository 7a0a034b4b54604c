"""Contributions to bytes: one tensor at a time, one chunk of frames at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import zstandard

from .containers import Array, pack
from .errors import BoundsError, PayloadError
from .headers import Header, metadata
from .payloads import Payload
from .places import gaps, largest, mask
from .values import CODINGS, MOST, exponent
from .vectors import SPAN, Contribution, Floats, Layout, Positions, Span
from .wires import Wire
from .wires import wire as named

Bytes = npt.NDArray[np.uint8]
Part = tuple[Span, Positions | None, Floats]


def encode(vector: Contribution, wire: str, header: Header) -> bytes:
    """Write a contribution.

    Args:
        vector: what to send; all of it must be finite.
        wire: the format's text; "dare" divides what it keeps by its density.
        header: what the payload says of itself; its `wire` is filled in here.

    Returns:
        The payload. The same input gives the same bytes with the same zstd.

    Raises:
        BoundsError: a value is not finite, or too large for any scale.
        PayloadError: the header names another layout than the vector's.
        ConfigError: no such format.
    """
    kind = named(wire)
    return _packed(vector, kind, header, 1 / kind.density)


def repack(payload: Payload) -> bytes:
    """Write what was decoded again: the same streams, whatever the compressor."""
    return _packed(payload, payload.wire, payload.header, 1.0)


def _packed(vector: Contribution, kind: Wire, header: Header, gain: float) -> bytes:
    layout = vector.layout
    if header.layout != layout.fingerprint:
        raise PayloadError("the header's layout is not the vector's")
    writer = _Writer(kind, layout)
    first = 0
    for tensor, (name, size) in enumerate(zip(layout.names, layout.sizes, strict=True)):
        spans = layout.spans[first : first + -(-size // SPAN)]
        dense = _gathered(vector, spans, name)
        writer.add(tensor, list(_parts(dense, spans, kind, header, layout)), gain)
        first += len(spans)
    said = replace(header, wire=str(kind))
    return pack(metadata(said, int(sum(writer.kept))), writer.tensors())


def _gathered(vector: Contribution, spans: Sequence[Span], name: str) -> Floats:
    dense = np.empty(sum(span.size for span in spans), np.float32)
    for span in spans:
        dense[span.start : span.start + span.size] = vector.block(span).dense()
    if not np.isfinite(dense).all():
        raise BoundsError("a value is not finite", tensor=name)
    return dense


def _parts(
    dense: Floats, spans: Sequence[Span], kind: Wire, header: Header, layout: Layout
) -> Iterator[Part]:
    """Each span's places and values, before they are coded."""
    if kind.places == "gaps":
        taken = largest(dense, kind.most(dense.size))
    for span in spans:
        values = dense[span.start : span.start + span.size]
        if kind.places == "all":
            yield span, None, values
            continue
        if kind.places == "seeded":
            places = mask(kind, header, layout, span)
        else:
            low, high = np.searchsorted(taken, [span.start, span.start + span.size])
            places = (taken[low:high] - span.start).astype(np.uint16)
        yield span, places, values[places]


class _Writer:
    """Collects planes span by span and closes a chunk's frames when it is full."""

    def __init__(self, kind: Wire, layout: Layout) -> None:
        self.kind = kind
        self.layout = layout
        self.coding = CODINGS[kind.values]
        self.kept: list[int] = []
        self.gaps: list[int] = []
        self.exponents = np.zeros(len(layout.names), np.int8)
        self.frames: list[bytes] = []
        self.sizes: list[list[int]] = []
        self.planes: list[list[Bytes]] = []
        self.press = zstandard.ZstdCompressor(
            level=1, write_content_size=True, write_checksum=False, write_dict_id=False
        )

    def add(self, tensor: int, parts: list[Part], gain: float) -> None:
        """Write one tensor's spans."""
        if self.kind.places == "seeded" and gain != 1:
            factor = np.float32(gain)
            with np.errstate(over="ignore"):  # what overflows is refused below
                parts = [(span, some, values * factor) for span, some, values in parts]
        peak = max((self.coding.peak(values) for _, _, values in parts), default=0.0)
        e = exponent(self.coding, peak) if np.isfinite(peak) else MOST + 1
        if e > MOST:
            raise BoundsError("too large to send", tensor=self.layout.names[tensor])
        self.exponents[tensor] = e
        for span, places, values in parts:
            self.span(span, places, values, e)

    def span(
        self, span: Span, places: Positions | None, values: Floats, e: int
    ) -> None:
        """Write one span, and the chunk's frames after its last one."""
        inverse = np.float32(2.0**-e)
        if self.kind.places == "gaps" and places is not None:
            values = self.quantised(values, e)
            some = values != 0
            places, values = places[some], values[some]
            written = gaps(places)
            self.gaps.append(written.size)
            self.planes.append([*self.coding.write(values, inverse), written])
        else:
            self.planes.append(self.coding.write(values, inverse))
        self.kept.append(values.size)
        if span.index + 1 == self.layout.chunks[len(self.sizes)].stop:
            self.close()

    def quantised(self, values: Floats, e: int) -> Floats:
        """What a receiver would decode."""
        planes = self.coding.write(values, np.float32(2.0**-e))
        for plane in planes:
            plane.flags.writeable = False
        decoded = np.empty(values.size, np.float32)
        self.coding.read(planes, np.float32(2.0**e), decoded)
        return decoded

    def close(self) -> None:
        """Press a chunk's planes."""
        joined = [b"".join(map(bytes, rows)) for rows in zip(*self.planes, strict=True)]
        frames = [self.press.compress(plane) if plane else b"" for plane in joined]
        self.sizes.append([len(frame) for frame in frames])
        self.frames += frames
        self.planes = []

    def tensors(self) -> dict[str, Array]:
        """What the container holds, in its order."""
        planes = self.coding.planes + (self.kind.places == "gaps")
        chunks = np.array(self.sizes, np.uint32).reshape(-1, planes)
        tables: dict[str, Array] = {"chunks": chunks}
        if self.kind.places == "gaps":
            blocks = np.array([self.kept, self.gaps], np.uint32).T
            tables["blocks"] = np.ascontiguousarray(blocks)
        if self.coding.top:
            tables["scales"] = self.exponents
        tables["frames"] = np.frombuffer(b"".join(self.frames), np.uint8)
        return tables

"""A validated payload: a view of its bytes, decoded span by span on demand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import kernels
from .places import mask
from .refusals import Reason, refuse
from .streams import Streams
from .values import CODINGS
from .vectors import SPAN, Block, Floats, Positions, Span

Bytes = npt.NDArray[np.uint8]

FLAWS = {
    kernels.RANGE: (Reason.INDEX_RANGE, "a place outside its span"),
    kernels.LENGTH: (Reason.LENGTH_MISMATCH, "more or fewer places than values"),
    kernels.LOOSE: (Reason.NOT_CANONICAL, "bits or gaps after the last value"),
    kernels.INFINITE: (Reason.NON_FINITE, "a value is not finite"),
    kernels.NEGATIVE: (Reason.NOT_CANONICAL, "a negative zero"),
    kernels.ZERO: (Reason.NOT_CANONICAL, "a zero is spelled out"),
}


def check(flaw: int, tensor: str) -> None:
    """Refuse what a loop found, unless it is `kernels.FINE`."""
    if flaw != kernels.FINE:
        reason, detail = FLAWS[flaw]
        refuse(reason, f"{tensor}: {detail}")


class Payload:
    """A validated contribution; it holds one decompressed chunk at most.

    A block is a view of scratch: valid until the next block is read. One thread at a
    time may read; threads take a `clone` each.

    Attributes:
        header: what the payload says of itself.
        wire: its format.
        layout: the tensors it has.
        norm: L2 norm of all that it holds.
        peaks: [tensors] largest magnitude in each tensor.
        kept: how many values it has in all.
    """

    __slots__ = (
        "_chunk",
        "_floats",
        "_planes",
        "_positions",
        "_streams",
        "header",
        "kept",
        "layout",
        "norm",
        "peaks",
        "wire",
    )

    def __init__(self, streams: Streams, norm: float, peaks: Floats) -> None:
        self.header = streams.header
        self.wire = streams.wire
        self.layout = streams.layout
        self.norm = norm
        self.peaks = peaks
        self.kept = int(streams.kept.sum())
        self._streams = streams
        self._chunk = -1
        self._planes: Sequence[Bytes] = ()
        widest = min(SPAN, max(self.layout.sizes, default=0))
        self._floats = np.empty(widest, np.float32)
        self._positions: Positions = np.empty(widest, np.uint16)

    def clone(self) -> "Payload":
        """Another reader of the same bytes, with scratch of its own."""
        return Payload(self._streams, self.norm, self.peaks)

    def exponent(self, tensor: int) -> int:
        """The e of a tensor: its values are small multiples of powers of two."""
        return int(self._streams.exponents[tensor])

    def block(self, span: Span) -> Block:
        """What it holds in one span: a view, valid until the next one is read."""
        return self._read(span)[0]

    def tensors(self) -> dict[str, Floats]:
        """Every tensor, dense: a copy, for small layouts."""
        whole = np.zeros(self.layout.size, np.float32)
        for span in self.layout.spans:
            whole[span.flat : span.flat + span.size] = self.block(span).dense()
        shaped = zip(self.layout.names, self.layout.shapes, strict=True)
        tensors, at = {}, 0
        for (name, shape), size in zip(shaped, self.layout.sizes, strict=True):
            tensors[name] = whole[at : at + size].reshape(shape)
            at += size
        return tensors

    def _chunk_of(self, span: Span) -> int:
        chunks = self.layout.chunks
        if self._chunk >= 0 and span.index in chunks[self._chunk]:
            return self._chunk
        low, high = 0, len(chunks) - 1
        while low < high:
            middle = (low + high) // 2
            if span.index < chunks[middle].stop:
                high = middle
            else:
                low = middle + 1
        return low

    def _read(self, span: Span) -> tuple[Block, int]:
        """A span's block and the first flaw that its reading met."""
        streams = self._streams
        chunk = self._chunk_of(span)
        if chunk != self._chunk:
            self._planes = ()
            self._planes, self._chunk = streams.load(chunk), chunk
        index, first = span.index, self.layout.chunks[chunk].start
        parts = [
            plane[ends[index] - ends[first] : ends[index + 1] - ends[first]]
            for plane, ends in zip(self._planes, streams.ends, strict=True)
        ]
        kept = int(streams.kept[index])
        values = self._floats[:kept]
        places, flaw = self._places(span, parts, kept)
        scale = np.float32(2.0 ** self.exponent(span.tensor))
        worse = CODINGS[self.wire.values].read(parts, scale, values)
        return Block(span.size, places, values), flaw or worse

    def _places(
        self, span: Span, parts: list[Any], kept: int
    ) -> tuple[Positions | None, int]:
        if self.wire.places == "all":
            return None, kernels.FINE
        if self.wire.places == "seeded":
            return mask(self.wire, self.header, self.layout, span), kernels.FINE
        places = self._positions[:kept]
        return places, kernels.read_gaps(parts.pop(), span.size, places)


def validated(streams: Streams) -> Payload:
    """Every chunk is decompressed and every value looked at, once.

    Raises:
        RefusedError: with the first thing that is wrong.
    """
    layout = streams.layout
    peaks = np.zeros(len(layout.names), np.float32)
    payload = Payload(streams, 0.0, peaks)
    total = 0.0
    zeros = streams.wire.places != "gaps"
    for span in layout.spans:
        name = layout.names[span.tensor]
        block, flaw = payload._read(span)  # noqa: SLF001 - our own
        check(flaw, name)
        flaw, peak, squares = kernels.examine(block.values, zeros)
        check(flaw, name)
        peaks[span.tensor] = max(float(peaks[span.tensor]), peak)
        total += squares
    peaks.flags.writeable = False
    payload.norm = float(np.sqrt(total))
    return payload

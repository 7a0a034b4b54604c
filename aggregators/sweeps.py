"""Any contributions, merged span by span; payloads of bytes at gaps all at once."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..protocols.payloads import Payload
from ..protocols.positions import GAPS
from ..protocols.streams import Streams
from ..protocols.values import EIGHTHS
from ..protocols.vectors import SPAN, Block, Floats, Span
from . import batches, kernels, runs
from .base import Planes
from .scales import exponents, known
from .sources import Work, chunk_of, reader

HELD = 16
"""Members up to so many keep their block of a span while its peak is looked for."""

WAVE = 8 << 20
"""Bytes of payloads that are inflated at once."""


class Sweeps:
    """Merges spans, one member after the other; one thread at a time."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._readers = [reader(one.contribution) for one in work.members]
        self._known = [known(one.contribution) for one in work.members]
        self._stacks = Stacks(work)
        self._planes, self._kind = work.reducer.planes(work.numbers.total)
        self._sums: Planes = np.zeros(0, self._kind)
        self._spans, self._chunks = work.layout.spans, work.layout.chunks

    def window(self, span: Span) -> range:
        """The span; its whole chunk where payloads are inflated together."""
        if self._stacks.any:
            return self._chunks[chunk_of(self._chunks, span.index)]
        return range(span.index, span.index + 1)

    def fill(self, given: range, out: Floats) -> None:
        """Merge consecutive spans of a chunk into out, which is as long as they are."""
        if not given:
            return
        spans = self._spans[given.start : given.stop]
        chunk = chunk_of(self._chunks, given.start)
        waves = self._stacks.waves(chunk)
        if len(waves) > 1:
            self._together(spans, chunk, waves, out)
            return
        stacked = waves[0] if waves else []
        if stacked:
            self._stacks.load(chunk, stacked)
        rest = self._rest(stacked)
        at = 0
        for span in spans:
            sums = self._empty(span.size)
            e, held = self._exponent(span, rest)
            self._fold(span, e, held, sums)
            if stacked:
                self._stacks.fold(span, self._scale(e), sums, 0)
            self._finish(span, e, sums, out[at : at + span.size])
            at += span.size

    def _together(
        self, spans: Sequence[Span], chunk: int, waves: list[list[int]], out: Floats
    ) -> None:
        """The same where not all payloads are inflated at once."""
        sums = self._empty(out.size)
        rest = self._rest([k for wave in waves for k in wave])
        found: list[int] = []
        at = 0
        for span in spans:
            e, held = self._exponent(span, rest)
            found.append(e)
            self._fold(span, e, held, sums[:, at : at + span.size])
            at += span.size
        for wave in waves:
            self._stacks.load(chunk, wave)
            at = 0
            for span, e in zip(spans, found, strict=True):
                self._stacks.fold(span, self._scale(e), sums, at)
                at += span.size
        at = 0
        for span, e in zip(spans, found, strict=True):
            part = slice(at, at + span.size)
            self._finish(span, e, sums[:, part], out[part])
            at += span.size

    def _rest(self, stacked: list[int]) -> list[int]:
        taken = set(stacked)
        return [k for k in range(len(self._readers)) if k not in taken]

    def _empty(self, size: int) -> Planes:
        """Planes of so many coordinates, with room behind them."""
        if self._sums.size < self._planes * size + SPAN:
            self._sums = np.empty(self._planes * size + SPAN, self._kind)
        sums = self._sums[: self._planes * size].reshape(self._planes, size)
        sums.fill(0)
        return sums

    def _exponent(
        self, span: Span, rest: list[int]
    ) -> tuple[int, list[tuple[int, Block | None]]]:
        """A span's exponent, and the blocks that were read to find it."""
        tops = [top[span.tensor] for top in self._known if top is not None]
        held: list[tuple[int, Block | None]] = []
        many = len(rest) > HELD
        for k in rest:
            block = None
            if self._known[k] is None:
                block = self._readers[k].block(span)
                tops.append(self._peak(k, span, block))
            held.append((k, None if many else block))
        return exponents(np.array(tops, np.float32).max(keepdims=True))[0], held

    def _peak(self, place: int, span: Span, block: Block) -> np.float32:
        values = np.ascontiguousarray(block.values, np.float32)
        bits = kernels.peak_bits(values.view(np.uint32))
        if bits >= kernels.INFINITE:
            raise self._work.refused(place, span.tensor)
        return np.uint32(bits).view(np.float32)

    def _fold(
        self, span: Span, e: int, held: list[tuple[int, Block | None]], sums: Planes
    ) -> None:
        reducer, scale = self._work.reducer, self._scale(e)
        for k, block in held:
            read = self._readers[k].block(span) if block is None else block
            reducer.fold(sums, read, self._work.shares[k], scale)

    def _scale(self, e: int) -> float:
        return self._work.numbers.step(e)

    def _finish(self, span: Span, e: int, sums: Planes, out: Floats) -> None:  # noqa: ARG002
        total = sum(self._work.shares)
        unit = self._work.numbers.worth(e, self._work.gain)
        self._work.reducer.finish(sums, total, unit, out)


class Stacks:
    """Payloads whose values are bytes at gaps.

    Attributes:
        any: whether there are such.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._streams: dict[int, Streams] = {}
        for k, one in enumerate(work.leaves if work.reducer.loop else []):
            if one is None or one.trimmed is not None or one.gain <= 0:
                continue
            source = one.source
            if isinstance(source, Payload) and _bytes_at_gaps(source):
                self._streams[k] = source.streams
        self.any = bool(self._streams)
        loops = {"mass": runs.PACKED, "count": runs.PACKED}
        self._loop = loops.get(work.reducer.loop, runs.SUM)
        planes = len(work.reducer.zero(work.numbers.total, 0)) if self.any else 1
        if planes == 4:  # noqa: PLR2004
            self._loop = runs.WIDE
        self._raw = np.zeros(0, np.uint8)
        self._wave: list[int] = []
        self._batch: batches.Batch | None = None
        self._chunk, self._first = -1, 0
        self._chunks = work.layout.chunks
        self._tables = np.zeros((0, 256), np.int64)
        self._tabled: tuple[int, float] = (-1, 0.0)

    def waves(self, chunk: int) -> list[list[int]]:
        """Which members to inflate together for a chunk."""
        waves: list[list[int]] = []
        room, part = 0, self._chunks[chunk]
        for k, streams in self._streams.items():
            if streams.shape.low and streams.tables.codes[chunk] != GAPS:
                continue
            ends = streams.ends
            size = int((ends[:, part.stop] - ends[:, part.start]).sum())
            if not waves or room < size:
                waves.append([])
                room = WAVE
            waves[-1].append(k)
            room -= size
        return waves

    def load(self, chunk: int, wave: list[int]) -> None:
        """Inflate some members' chunk."""
        if chunk == self._chunk and wave == self._wave:
            return
        self._chunk, self._wave, self._tabled = -1, [], (-1, 0.0)
        part = self._chunks[chunk]
        codes, gaps = (np.empty((len(wave), len(part) + 1), np.int64) for _ in range(2))
        at = 0
        for row, k in enumerate(wave):
            ends = self._streams[k].ends[:, part.start : part.stop + 1]
            for which, starts in ((0, codes), (-1, gaps)):
                starts[row] = ends[which] - ends[which, 0] + at
                at = int(starts[row, -1])
        if self._raw.size < at + _SLACK:
            self._raw = np.zeros(at + at // 8 + _SLACK, np.uint8)
        for row, k in enumerate(wave):
            planes = self._streams[k].load(chunk)
            self._raw[codes[row, 0] : codes[row, -1]] = planes[0]
            self._raw[gaps[row, 0] : gaps[row, -1]] = planes[-1]
        self._first = part.start
        count = len(wave)
        leaves = [self._work.leaves[k] for k in wave]
        self._batch = batches.Batch(
            self._raw,
            codes,
            gaps,
            np.zeros(count, np.float32),
            np.array([one.gain for one in leaves if one], np.float32),
            np.array([self._work.shares[k] for k in wave], np.int64),
        )
        self._tables = np.zeros((count, 256), np.int64)
        self._chunk, self._wave = chunk, wave

    def fold(self, span: Span, scale: float, sums: Planes, at: int) -> None:
        """Add one span of what is loaded to sums, from a coordinate on."""
        batch = self._batch
        if batch is None:
            return
        if self._tabled != (span.tensor, scale):
            for row, k in enumerate(self._wave):
                e = int(self._streams[k].tables.exponents[span.tensor])
                batch.scales[row] = np.ldexp(np.float32(1), e)
            batches.tabulate(batch, self._loop, EIGHTHS, scale, self._tables)
            self._tabled = span.tensor, scale
        flat: npt.NDArray[np.int64] = sums.reshape(-1).view(np.int64)
        room = (at, sums.shape[1] if self._loop >= runs.PACKED else 0)
        place = span.index - self._first
        fold = batches.fold_wide if self._loop == runs.WIDE else batches.fold_signed
        fold(batch, self._tables, place, flat, room)


_SLACK = 1 << 10


def _bytes_at_gaps(payload: Payload) -> bool:
    return payload.wire.places == "gaps" and payload.wire.values == "fp8"

"""Payloads of the usual sparse forms: inflated together, folded all at once."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..protocols import seeds
from ..protocols.masks import mask_key
from ..protocols.payloads import Payload
from ..protocols.positions import GAPS
from ..protocols.streams import Streams
from ..protocols.values import EIGHTHS, HALVES
from ..protocols.vectors import Span
from . import batches, runs
from .base import Planes
from .sources import Work

WAVE = 8 << 20
"""Bytes that are inflated at once."""

_SLACK = 1 << 10


@dataclass(frozen=True, slots=True)
class Form:
    """How a payload's places and values travel.

    Attributes:
        drawn: halves at places drawn by seed; otherwise bytes at gaps.
        density: of the mask.
    """

    drawn: bool = False
    density: float = 1.0


def form(payload: Payload) -> Form | None:
    """The form of a payload, where there is a loop for it."""
    wire = payload.wire
    if wire.places == "gaps" and wire.values == "fp8":
        return Form()
    if wire.places == "seeded" and wire.values == "fp16":
        return Form(drawn=True, density=wire.density)
    return None


class Piles:
    """The members of a merge that are such payloads.

    Attributes:
        any: whether there are some.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._streams: dict[int, Streams] = {}
        self._forms: dict[int, Form] = {}
        for k, one in enumerate(work.leaves if work.reducer.loop else []):
            if one is None or one.trimmed is not None or one.gain <= 0:
                continue
            found = form(one.source) if isinstance(one.source, Payload) else None
            if isinstance(one.source, Payload) and found is not None:
                self._streams[k], self._forms[k] = one.source.streams, found
        self.any = bool(self._streams)
        planes = work.reducer.planes(work.numbers.total)[0]
        self._loop = {1: runs.SUM, 2: runs.PACKED}.get(planes, runs.WIDE)
        self._chunks = work.layout.chunks
        self._raw = np.zeros(0, np.uint8)
        self._loaded: tuple[int, list[int]] = (-1, [])
        self._batch: batches.Batch | None = None
        self._first = 0
        self._tables = np.zeros((0, 256), np.int64)
        self._keys = np.zeros(0, np.uint64)
        self._ready: tuple[int, float] = (-1, 0.0)

    def waves(self, chunk: int) -> list[list[int]]:
        """Which members to inflate together for a chunk."""
        waves: list[list[int]] = []
        room, part, last = 0, self._chunks[chunk], None
        for k, streams in self._streams.items():
            if streams.shape.low and streams.tables.codes[chunk] != GAPS:
                continue
            ends = streams.ends
            size = int((ends[:, part.stop] - ends[:, part.start]).sum())
            if room < size or self._forms[k] != last:
                waves.append([])
                room, last = WAVE, self._forms[k]
            waves[-1].append(k)
            room -= size
        return waves

    def load(self, chunk: int, wave: list[int]) -> None:
        """Inflate some members' chunk."""
        if (chunk, wave) == self._loaded:
            return
        self._loaded, self._ready = (-1, []), (-1, 0.0)
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
        self._keys = np.zeros(count, np.uint64)
        self._loaded = (chunk, wave)

    def fold(self, span: Span, scale: float, sums: Planes, at: int) -> None:
        """Add one span of what is loaded to sums, from a coordinate on."""
        batch, wave = self._batch, self._loaded[1]
        if batch is None or not wave:
            return
        how = self._forms[wave[0]]
        if self._ready != (span.tensor, scale):
            self._prepare(batch, how, span, scale)
        flat: npt.NDArray[np.int64] = sums.reshape(-1).view(np.int64)
        room = (at, sums.shape[1] if self._loop >= runs.PACKED else 0)
        place = span.index - self._first
        if how.drawn:
            every = seeds.strata(how.density)
            draw = batches.Draw(
                self._keys, every, how.density, place, span.start, span.size
            )
            batches.fold_drawn(batch, draw, (self._loop, scale, HALVES), flat, room)
        elif self._loop == runs.WIDE:
            batches.fold_wide(batch, self._tables, place, flat, room)
        else:
            batches.fold_signed(batch, self._tables, place, flat, room)

    def _prepare(
        self, batch: batches.Batch, how: Form, span: Span, scale: float
    ) -> None:
        """Work out what holds for one tensor."""
        for row, k in enumerate(self._loaded[1]):
            streams = self._streams[k]
            e = int(streams.tables.exponents[span.tensor])
            batch.scales[row] = np.ldexp(np.float32(1), e)
            if how.drawn:
                self._keys[row] = mask_key(
                    streams.header,
                    streams.layout,
                    span.tensor,
                    shared=streams.wire.shared,
                )
        if not how.drawn:
            batches.tabulate(batch, self._loop, EIGHTHS, scale, self._tables)
        self._ready = span.tensor, scale

"""Payloads of the usual sparse forms: inflated together, merged all at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..protocols import seeds
from ..protocols.masks import mask_keys
from ..protocols.payloads import Payload
from ..protocols.positions import BITS, GAPS
from ..protocols.vectors import SPAN, Floats, Span
from . import batches, draws
from .runs import EXACT
from .sources import Work
from .units import Units, units

WAVE = 8 << 20
"""Bytes that are inflated at once."""

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Form:
    """How a payload's places and values travel.

    Attributes:
        drawn: halves at places drawn by seed; otherwise bytes at gaps or bits.
        density: of the mask.
    """

    drawn: bool = False
    density: float = 1.0


def form(payload: Payload) -> Form | None:
    """The form of a payload, where there is a loop for it."""
    wire = payload.wire
    halves = wire.values == "fp16"
    if wire.places == "gaps" and wire.values == "fp8":
        return Form()
    near = wire.places == "seeded" and seeds.strata(wire.density) <= draws.LONGEST
    return Form(drawn=True, density=wire.density) if near and halves else None


class Piles:
    """A merge whose members are all payloads of one such form, if it is one.

    Attributes:
        any: whether it is.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._sources = _sources(work)
        self._form = form(self._sources[0]) if self._sources else None
        self._units: Units | None = None
        if self._form is not None:
            self._units = units(work, self._sources, coded=not self._form.drawn)
        self.any = self._units is not None
        if not self.any:
            return
        self._rule = batches.Rule(
            work.reducer.loop != "sum",
            2 if work.reducer.loop == "count" else 0,
            work.numbers.total <= EXACT,
        )
        self._chunks, self._spans = work.layout.chunks, work.layout.spans
        self._room = batches.Room(
            np.zeros(0, np.int32),
            np.zeros(0, np.int64),
            np.zeros(256, np.int32),
            np.zeros(256, np.int64),
        )
        self._used = np.zeros(len(self._sources), np.int64)
        self._drawn = draws.scratch()
        tables = [one.streams.tables for one in self._sources]
        self._exponents = np.array([one.exponents for one in tables], np.int64)
        self._gains = np.array([one.gain for one in work.leaves if one], np.float32)
        self._shares = np.array(work.shares, np.int64)
        self._keys = self._mask_keys()
        self._loaded: tuple[int, list[int]] = (-1, [])
        self._raw: Bytes = np.empty(0, np.uint8)
        self._batch: batches.Batch | None = None

    def covers(self, chunk: int) -> bool:
        """Whether there is a loop for a chunk as all members have it."""
        codes = [one.streams.tables.codes for one in self._sources]
        if not self.any or (self._form is not None and self._form.drawn):
            return self.any
        return all(one[chunk] in (GAPS, BITS) for one in codes)

    def fill(self, chunk: int, spans: Sequence[Span], out: Floats) -> None:
        """Merge consecutive spans of a chunk into out, which is as long as they are."""
        waves = self._waves(chunk)
        found = self._units
        if found is None:
            return
        tensors = np.array([span.tensor for span in spans], np.int64)
        sizes = np.array([span.size for span in spans], np.int64)
        starts = np.array([span.start for span in spans], np.int64)
        self._make_room(out.size if len(waves) > 1 else 0, found.short[tensors])
        for place, wave in enumerate(waves):
            batch = self._load(chunk, wave)
            part = batches.Part(
                spans[0].index - self._chunks[chunk].start,
                tensors,
                starts,
                sizes,
                len(waves) > 1,
                place == 0,
                place == len(waves) - 1,
            )
            words = found._replace(shifts=found.shifts[wave])
            self._merge(batch, words, part, out)

    def _merge(
        self, batch: batches.Batch, words: Units, part: batches.Part, out: Floats
    ) -> None:
        if self._form is None or not self._form.drawn:
            batches.merge_coded(batch, words, part, self._rule, self._room, out)
            return
        draw = (seeds.strata(self._form.density), self._form.density)
        used = self._used[: batch.shares.size]
        room = (self._room.long, self._drawn, used)
        draws.merge_drawn(batch, words, part, self._rule, draw, room, out)

    def _make_room(self, size: int, short: npt.NDArray[np.bool_]) -> None:
        """Have sums for so many coordinates and the longest span."""
        least = (size + SPAN) << int(self._rule.pairs)
        held = self._room
        if short.any() and held.short.size < least:
            self._room = held = held._replace(short=np.zeros(least, np.int32))
        if not short.all() and held.long.size < least:
            self._room = held._replace(long=np.zeros(least, np.int64))

    def _mask_keys(self) -> npt.NDArray[np.uint64]:
        """[K, T] what places are drawn under."""
        if self._form is None or not self._form.drawn:
            return np.zeros((len(self._sources), 0), np.uint64)
        rows = [
            mask_keys(one.header, one.layout, shared=one.wire.shared)
            for one in self._sources
        ]
        return np.array(rows, np.uint64)

    def _waves(self, chunk: int) -> list[list[int]]:
        """Which members to inflate together for a chunk."""
        waves: list[list[int]] = [[]]
        room = WAVE
        for k in range(len(self._sources)):
            size = self._size(k, chunk)
            if room < size and waves[-1]:
                waves.append([])
                room = WAVE
            waves[-1].append(k)
            room -= size
        return waves

    def _size(self, k: int, chunk: int) -> int:
        """Bytes of a member's chunk when it is inflated."""
        ends, part = self._sources[k].streams.ends, self._chunks[chunk]
        return int((ends[:, part.stop] - ends[:, part.start]).sum())

    def _load(self, chunk: int, wave: list[int]) -> batches.Batch:
        """Inflate some members' chunk."""
        if self._batch is not None and (chunk, wave) == self._loaded:
            return self._batch
        self._batch = None
        part, count, at = self._chunks[chunk], len(wave), 0
        size = sum(self._size(k, chunk) for k in wave)
        if self._raw.size < size:
            self._raw = np.empty(size + size // 8, np.uint8)
        places = np.zeros((2, count), np.int64)
        ends = np.empty((2, count, len(part) + 1), np.int64)
        bits = np.zeros(count, np.bool_)
        for row, k in enumerate(wave):
            streams = self._sources[k].streams
            planes = streams.load_into(chunk, self._raw[at:])
            for which, place in ((0, 0), (1, -1)):
                places[which, row] = planes[place].__array_interface__["data"][0]
                some = streams.ends[place, part.start : part.stop + 1]
                ends[which, row] = some - some[0]
            at += sum(plane.size for plane in planes)
            bits[row] = streams.tables.codes[chunk] == BITS
        self._batch = batches.Batch(
            places,
            ends[0],
            ends[1],
            bits,
            self._exponents[wave],
            self._gains[wave],
            self._shares[wave],
            self._keys[wave],
        )
        self._loaded = (chunk, wave)
        return self._batch


def _sources(work: Work) -> list[Payload]:
    """The payloads, where all members are ones of the same form and nothing else."""
    found: list[Payload] = []
    for one in work.leaves if work.reducer.loop else []:
        if one is None or one.trimmed is not None or one.gain <= 0:
            return []
        if not isinstance(one.source, Payload) or form(one.source) is None:
            return []
        found.append(one.source)
    same = {form(one) for one in found}
    return found if len(same) == 1 else []

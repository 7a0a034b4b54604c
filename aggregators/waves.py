"""Any contributions, merged span by span; many payloads chunk by chunk.

What a payload holds to read a chunk, some megabytes, is let go at the chunk's end. Of
many payloads only a wave is open at a time, in memory that one leaves to the next, and
the sums are kept for the chunk.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from ..protocols.vectors import Block, Contribution, Floats, Span
from . import kernels
from .base import Planes
from .scales import exponents, known
from .sources import Work, payload, reader, release, succeed

WAVE = 8
"""Members that are open at once, of many;"""
HELD = 16
"""up to so many keep their block of a span while its peak is looked for."""


class Waves:
    """Merges spans, one member after the other; one thread at a time.

    Attributes:
        packed: whether some members are payloads: a chunk's spans are best merged
            together.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        found = [known(one.contribution) for one in work.members]
        self._unknown = [k for k, top in enumerate(found) if top is None]
        tops = [top for top in found if top is not None]
        self._tops = np.maximum.reduce(tops) if tops else None
        self._planes, self._kind = work.reducer.planes(work.numbers.total)
        self._sums: Planes = np.zeros(0, self._kind)
        members = work.members
        self.packed = any(payload(one.contribution) is not None for one in members)
        self._many = len(members) > (HELD if self._unknown else WAVE)
        self._turns: dict[int, int] = {}

    def fill(self, spans: Sequence[Span], out: Floats) -> None:
        """Merge consecutive spans of a chunk into out, which is as long as they are."""
        if self._many and self.packed:
            self._merge(spans, out)
            return
        at = 0
        for span in spans:
            self._merge([span], out[at : at + span.size])
            at += span.size
        for one in self._readers if self.packed else ():
            release(one)

    @cached_property
    def _readers(self) -> list[Contribution]:
        return [reader(one.contribution) for one in self._work.members]

    def _merge(self, spans: Sequence[Span], out: Floats) -> None:
        """Merge spans, of each of which sums are kept, wave by wave."""
        sums = self._empty(spans)
        found, held = self._exponents(spans)
        reducer, numbers = self._work.reducer, self._work.numbers
        count = len(self._work.members)
        for first in range(0, count, WAVE):
            wave = range(first, min(first + WAVE, count))
            self._open(wave)
            for span, part, e in zip(spans, sums, found, strict=True):
                scale = numbers.step(e)
                for k in wave:
                    block = held[k] if k in held else self._readers[k].block(span)
                    reducer.fold(part, block, self._work.shares[k], scale)
        at = 0
        for span, part, e in zip(spans, sums, found, strict=True):
            unit = numbers.worth(e, self._work.gain)
            here = out[at : at + span.size]
            reducer.finish(part, sum(self._work.shares), unit, here)
            at += span.size

    def _empty(self, spans: Sequence[Span]) -> list[Planes]:
        """Planes [p, n] of zeros for each of some spans."""
        size = self._planes * sum(span.size for span in spans)
        if self._sums.size < size:
            self._sums = np.empty(size, self._kind)
        self._sums[:size] = 0
        found, at = [], 0
        for span in spans:
            part = self._sums[at : at + self._planes * span.size]
            found.append(part.reshape(self._planes, span.size))
            at += part.size
        return found

    def _exponents(self, spans: Sequence[Span]) -> tuple[list[int], dict[int, Block]]:
        """Spans' exponents; by member the block that was read to find one's alone."""
        agreed, held = self._work.numbers.exponents, dict[int, Block]()
        if agreed:
            return [agreed[span.index] for span in spans], held
        tops = np.zeros(len(spans), np.float32)
        if self._tops is not None:
            tops = self._tops[[span.tensor for span in spans]]
        for k in self._unknown:
            self._open([k])
            for place, span in enumerate(spans):
                block = self._readers[k].block(span)
                tops[place] = max(tops[place], self._peak(k, span, block))
                if not self._many:
                    held[k] = block
        return list(exponents(tops)), held

    def _peak(self, place: int, span: Span, block: Block) -> np.float32:
        values = np.ascontiguousarray(block.values, np.float32)
        bits = kernels.peak_bits(values.view(np.uint32))
        if bits >= kernels.INFINITE:
            raise self._work.refused(place, span.tensor)
        return np.uint32(bits).view(np.float32)

    def _open(self, members: Sequence[int]) -> None:
        """Have members read with what those of an earlier wave read with."""
        for k in members if self._many and self.packed else ():
            before = self._turns.get(k % WAVE, k)
            if before != k:
                succeed(self._readers[k], self._readers[before])
            self._turns[k % WAVE] = k

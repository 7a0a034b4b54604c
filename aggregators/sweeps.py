"""Any contributions, merged span by span; payloads of the usual forms all at once."""

from functools import cached_property

import numpy as np

from ..protocols.vectors import Block, Contribution, Floats, Span
from . import kernels
from .base import Planes
from .piles import Piles
from .scales import exponents, known
from .sources import Work, chunk_of, reader

HELD = 16
"""Members up to so many keep their block of a span while its peak is looked for."""


class Sweeps:
    """Merges spans, one member after the other; one thread at a time."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._known = [known(one.contribution) for one in work.members]
        self._piles = Piles(work)
        self._planes, self._kind = work.reducer.planes(work.numbers.total)
        self._sums: Planes = np.zeros(0, self._kind)
        self._spans, self._chunks = work.layout.spans, work.layout.chunks

    def window(self, span: Span) -> range:
        """The span; its whole chunk where payloads are inflated together."""
        chunk = chunk_of(self._chunks, span.index)
        if self._piles.covers(chunk):
            return self._chunks[chunk]
        return range(span.index, span.index + 1)

    def fill(self, given: range, out: Floats) -> None:
        """Merge consecutive spans of a chunk into out, which is as long as they are."""
        if not given:
            return
        spans = self._spans[given.start : given.stop]
        chunk = chunk_of(self._chunks, given.start)
        if self._piles.covers(chunk):
            self._piles.fill(chunk, spans, out)
            return
        at = 0
        for span in spans:
            self._sweep(span, out[at : at + span.size])
            at += span.size

    @cached_property
    def _readers(self) -> list[Contribution]:
        return [reader(one.contribution) for one in self._work.members]

    def _sweep(self, span: Span, out: Floats) -> None:
        sums = self._empty(span.size)
        e, held = self._exponent(span)
        reducer, numbers = self._work.reducer, self._work.numbers
        scale = numbers.step(e)
        for k, block in enumerate(held):
            read = self._readers[k].block(span) if block is None else block
            reducer.fold(sums, read, self._work.shares[k], scale)
        unit = numbers.worth(e, self._work.gain)
        reducer.finish(sums, sum(self._work.shares), unit, out)

    def _empty(self, size: int) -> Planes:
        """Planes of so many coordinates."""
        if self._sums.size < self._planes * size:
            self._sums = np.empty(self._planes * size, self._kind)
        sums = self._sums[: self._planes * size].reshape(self._planes, size)
        sums.fill(0)
        return sums

    def _exponent(self, span: Span) -> tuple[int, list[Block | None]]:
        """A span's exponent, and the blocks that were read to find it."""
        agreed = self._work.numbers.exponents
        if agreed:
            return agreed[span.index], [None] * len(self._known)
        tops = [top[span.tensor] for top in self._known if top is not None]
        held: list[Block | None] = []
        many = len(self._known) > HELD
        for k, top in enumerate(self._known):
            block = None
            if top is None:
                block = self._readers[k].block(span)
                tops.append(self._peak(k, span, block))
            held.append(None if many else block)
        return exponents(np.array(tops, np.float32).max(keepdims=True))[0], held

    def _peak(self, place: int, span: Span, block: Block) -> np.float32:
        values = np.ascontiguousarray(block.values, np.float32)
        bits = kernels.peak_bits(values.view(np.uint32))
        if bits >= kernels.INFINITE:
            raise self._work.refused(place, span.tensor)
        return np.uint32(bits).view(np.float32)

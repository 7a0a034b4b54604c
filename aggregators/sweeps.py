"""Any contributions, merged span by span; payloads of the usual forms all at once."""

from collections.abc import Sequence

import numpy as np

from ..protocols.vectors import SPAN, Block, Floats, Span
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
        self._readers = [reader(one.contribution) for one in work.members]
        self._known = [known(one.contribution) for one in work.members]
        self._piles = Piles(work)
        self._planes, self._kind = work.reducer.planes(work.numbers.total)
        self._sums: Planes = np.zeros(0, self._kind)
        self._spans, self._chunks = work.layout.spans, work.layout.chunks

    def window(self, span: Span) -> range:
        """The span; its whole chunk where payloads are inflated together."""
        if self._piles.any:
            return self._chunks[chunk_of(self._chunks, span.index)]
        return range(span.index, span.index + 1)

    def fill(self, given: range, out: Floats) -> None:
        """Merge consecutive spans of a chunk into out, which is as long as they are."""
        if not given:
            return
        spans = self._spans[given.start : given.stop]
        chunk = chunk_of(self._chunks, given.start)
        waves = self._piles.waves(chunk)
        if len(waves) > 1:
            self._together(spans, chunk, waves, out)
            return
        stacked = waves[0] if waves else []
        if stacked:
            self._piles.load(chunk, stacked)
        rest = self._rest(stacked)
        at = 0
        for span in spans:
            sums = self._empty(span.size)
            e, held = self._exponent(span, rest)
            self._fold(span, e, held, sums)
            if stacked:
                self._piles.fold(span, self._scale(e), sums, 0)
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
            self._piles.load(chunk, wave)
            at = 0
            for span, e in zip(spans, found, strict=True):
                self._piles.fold(span, self._scale(e), sums, at)
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

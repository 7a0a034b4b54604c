"""Any contributions, merged chunk by chunk; payloads of the usual forms all at once."""

from ..protocols.vectors import Floats, Span
from .piles import Piles
from .sources import Work, chunk_of
from .waves import Waves


class Sweeps:
    """Merges spans; one thread at a time."""

    def __init__(self, work: Work) -> None:
        self._piles, self._waves = Piles(work), Waves(work)
        self._spans, self._chunks = work.layout.spans, work.layout.chunks

    def window(self, span: Span) -> range:
        """The span; its whole chunk where members are payloads."""
        chunk = chunk_of(self._chunks, span.index)
        if self._waves.packed or self._piles.covers(chunk):
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
        self._waves.fill(spans, out)

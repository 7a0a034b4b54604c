"""Tensors that lie in memory or in mapped files, merged run by run."""

import numpy as np

from ..protocols.values import HALVES
from ..protocols.vectors import Floats, Span
from . import runs
from .sources import Work, chunk_of


class Folds:
    """Merges runs of tensors, all members at once; one thread at a time.

    Args:
        work: all of its members lie somewhere as they are.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._leaves = [one for one in work.leaves if one is not None]
        self._gains = np.array([one.gain for one in self._leaves], np.float32)
        self._shares = np.array(work.shares, np.int64)
        self._room = runs.room(len(self._leaves), HALVES)
        self._rule = _rule(work)
        self._agreed = np.array(work.numbers.exponents, np.int64)
        self._spans, self._chunks = work.layout.spans, work.layout.chunks

    def window(self, span: Span) -> range:
        """The spans of its tensor in its chunk."""
        spans = self._spans
        chunk = self._chunks[chunk_of(self._chunks, span.index)]
        first = last = span.index
        while first > chunk.start and spans[first - 1].tensor == span.tensor:
            first -= 1
        while last + 1 < chunk.stop and spans[last + 1].tensor == span.tensor:
            last += 1
        return range(first, last + 1)

    def fill(self, given: range, out: Floats) -> None:
        """Merge consecutive spans into out, which is as long as they are together."""
        spans, at = self._spans, 0
        index = given.start
        while index < given.stop:
            start, size = spans[index], 0
            while index < given.stop and spans[index].tensor == start.tensor:
                size += spans[index].size
                index += 1
            self._run(start, out[at : at + size])
            at += size

    def _run(self, start: Span, out: Floats) -> None:
        count = len(self._leaves)
        kinds, places = np.empty((2, count), np.int64), np.empty((2, count), np.int64)
        cuts, ties = np.zeros(count, np.uint32), np.full(count, -1, np.int64)
        for k, one in enumerate(self._leaves):
            (kinds[0, k], places[0, k]), (kinds[1, k], places[1, k]) = (
                one.places[start.tensor] if one.places else ((0, 0), (0, 0))
            )
            cuts[k], ties[k] = one.cut(start)
        run = runs.Run(kinds, places, self._gains, cuts, ties, self._shares)
        last = start.index + -(-out.size // runs.SPAN)
        agreed = self._agreed[start.index : last]
        found = int(runs.fill(run, self._rule, start.start, agreed, self._room, out))
        if found >= runs.BAD:
            raise self._work.refused(found - runs.BAD, start.tensor)


def _rule(work: Work) -> runs.Rule:
    reducer, numbers = work.reducer, work.numbers
    divisor = 1.0 if reducer.adds else float(max(sum(work.shares), 1))
    loop = runs.REAL if numbers.total <= runs.EXACT else runs.SUM
    if reducer.loop in ("mass", "count"):
        packed = len(reducer.zero(numbers.total, 0)) == 2  # noqa: PLR2004
        loop = runs.PACKED if packed else runs.WIDE
    elect = 2 if reducer.loop == "count" else 0
    return runs.Rule(loop, elect, numbers.fraction, float(work.gain), divisor)

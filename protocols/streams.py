"""The bytes of a payload: zstd frames, and the tables that say where a span's are."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from .codings import Counts
from .frames import inflate, inflated
from .headers import Header
from .positions import WIDE
from .refusals import Reason
from .tables import Shape, Tables
from .values import CODINGS
from .vectors import SPAN, Layout
from .wires import Wire

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Streams:
    """The parts of a payload, with the tables that say where each span's bytes are.

    Attributes:
        header: what the payload says of itself.
        wire: its format.
        version: of its tables.
        layout: the tensors it has.
        frames: the zstd frames, chunk by chunk, plane by plane.
        tables: what its tables say.
    """

    header: Header
    wire: Wire
    version: int
    layout: Layout
    frames: Bytes
    tables: Tables

    @cached_property
    def shape(self) -> Shape:
        """Which planes there are."""
        return Shape.of(self.wire, self.version)

    @cached_property
    def starts(self) -> Counts:
        """[chunks * planes + 1] where each frame begins."""
        return sums(self.tables.chunks.reshape(-1))

    @cached_property
    def owners(self) -> Counts:
        """[spans] each one's tensor."""
        return np.array([span.tensor for span in self.layout.spans], np.int64)

    @cached_property
    def sizes(self) -> Counts:
        """[spans] coordinates of each."""
        return np.array([span.size for span in self.layout.spans], np.int64)

    @cached_property
    def ends(self) -> Counts:
        """[planes, spans + 1] bytes of each plane up to each span."""
        kept, rows = self.tables.kept, []
        choices = self.tables.choices
        for name in self.shape.codings:
            uses = np.array([one.values == name for one in choices], np.bool_)
            mine = np.where(uses[self.owners], kept, 0)
            rows += list(CODINGS[name].widths(mine))
        if self.shape.low:
            codes = np.repeat(self.tables.codes, [len(c) for c in self.layout.chunks])
            wide = (codes == WIDE) & (self.tables.told > 0)
            rows.append(np.where(wide, kept, 0))
        if self.shape.places:
            rows.append(self.tables.told)
        ends = np.zeros((len(rows), kept.size + 1), np.int64)
        np.cumsum(np.array(rows).reshape(len(rows), -1), axis=1, out=ends[:, 1:])
        return ends

    @cached_property
    def runs(self) -> Counts:
        """First spans of runs that are decoded at once, and the number of spans.

        A run is of one chunk and has at most 2^16 values, or is one span.
        """
        found: list[int] = []
        kept = self.tables.kept.tolist()
        for chunk in self.layout.chunks:
            held = SPAN + 1
            for index in chunk:
                if held + kept[index] > SPAN:
                    found.append(index)
                    held = 0
                held += kept[index]
        return np.array([*found, len(kept)], np.int64)

    def load(self, chunk: int) -> list[Bytes]:
        """The planes of a chunk: each format's of values, low bytes, places.

        Raises:
            RefusedError: INFLATED_SIZE, SHAPE_MISMATCH, LENGTH_MISMATCH or BAD_STREAM.
        """
        lacks = self._lacks
        return [
            np.frombuffer(inflated(frame, size, lacks), np.uint8)
            for frame, size in self._frames(chunk)
        ]

    def load_into(self, chunk: int, room: Bytes) -> list[Bytes]:
        """The same, one behind the other, in memory that is there already."""
        planes, at = [], 0
        for frame, size in self._frames(chunk):
            planes.append(room[at : at + size])
            inflate(frame, planes[-1], self._lacks)
            at += size
        return planes

    def load_again(self, chunk: int, room: Bytes) -> tuple[Bytes, list[Bytes]]:
        """The same of a payload that was validated; the memory, new if it is longer."""
        spans = self.layout.chunks[chunk]
        size = int((self.ends[:, spans.stop] - self.ends[:, spans.start]).sum())
        if room.size < size:
            room = np.empty(size + size // 8, np.uint8)
        return room, self.load_into(chunk, room)

    @property
    def _lacks(self) -> Reason:
        dense = self.wire.places == "all"
        return Reason.SHAPE_MISMATCH if dense else Reason.LENGTH_MISMATCH

    def _frames(self, chunk: int) -> Iterator[tuple[Bytes, int]]:
        """A chunk's frames, and how long their contents are."""
        spans, rows = self.layout.chunks[chunk], len(self.ends)
        sizes = (self.ends[:, spans.stop] - self.ends[:, spans.start]).tolist()
        starts = self.starts[chunk * rows : (chunk + 1) * rows + 1].tolist()
        for size, (first, last) in zip(sizes, pairwise(starts), strict=True):
            yield self.frames[first:last], size


def sums(sizes: Counts) -> Counts:
    """[n + 1] what comes before each of n sizes, and all of it."""
    total = np.zeros(sizes.size + 1, np.int64)
    np.cumsum(sizes, out=total[1:], dtype=np.int64)
    return total

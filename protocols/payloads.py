"""A validated payload: a view of its bytes, decoded span by span on demand."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from . import kernels
from .codings import Counts, Halves
from .masks import drawn, mask_key
from .positions import GAPS, read_places
from .streams import Streams
from .values import CODINGS
from .vectors import SPAN, Block, Floats, Positions, Span
from .wires import Choice

Bytes = npt.NDArray[np.uint8]


class Payload:
    """A validated contribution; it holds one decompressed chunk at most, see `release`.

    A block is a view of scratch: valid until the next block is read. One thread at a
    time may read; threads take a `clone` each. Spans with few values are decoded many
    at a time, so reading in flat order is cheapest.

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
        "_ends",
        "_floats",
        "_keys",
        "_planes",
        "_positions",
        "_room",
        "_run",
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
        self.kept = int(streams.tables.kept.sum())
        self._streams = streams
        self._chunk = self._run = -1
        self._planes: Sequence[Bytes] = ()
        self._ends = np.zeros(1, np.int64)
        self._keys: dict[int, int] = {}
        self._room: Bytes | None = None
        self._floats = np.empty(0, np.float32)
        self._positions: Positions = np.empty(0, np.uint16)

    @property
    def streams(self) -> Streams:
        """Its bytes and tables, for whoever decodes and folds in one go."""
        return self._streams

    @property
    def counts(self) -> Counts:
        """[tensors] how many values each tensor has."""
        streams, names = self._streams, self.layout.names
        sums = np.bincount(streams.owners, streams.tables.kept, len(names))
        return sums.astype(np.int64)

    def clone(self) -> "Payload":
        """Another reader of the same bytes, with scratch of its own."""
        other = Payload(self._streams, self.norm, self.peaks)
        other.release()
        return other

    def release(self) -> None:
        """Let go of the chunk and the scratch; the next block is decoded anew.

        From now on frames are taken to be what `validated` found them to be.
        """
        self._planes, self._chunk, self._run = (), -1, -1
        self._room = np.empty(0, np.uint8)
        self._floats = np.empty(0, np.float32)
        self._positions = np.empty(0, np.uint16)

    def succeed(self, other: "Payload") -> None:
        """Take over another's scratch; both decode their next block anew.

        Memory that is new page by page takes longer to get than to fill.
        """
        self.release()
        if other._room is not None:  # noqa: SLF001 - our own
            self._room = other._room  # noqa: SLF001
        self._floats, self._positions = other._floats, other._positions  # noqa: SLF001
        other.release()

    def exponent(self, tensor: int) -> int:
        """The e of a tensor: its values are small multiples of powers of two."""
        return int(self._streams.tables.exponents[tensor])

    def choice(self, tensor: int) -> Choice:
        """How a tensor travels."""
        return self._streams.tables.choices[tensor]

    def formats(self) -> dict[str, int]:
        """How many tensors travel in which format, such as {"int4 gaps": 2}."""
        found: dict[str, int] = {}
        for choice in self._streams.tables.choices:
            name = f"{choice.values} {choice.places}".removesuffix(" all")
            found[name] = found.get(name, 0) + 1
        return dict(sorted(found.items()))

    def block(self, span: Span) -> Block:
        """What it holds in one span: a view, valid until the next one is read."""
        runs = self._streams.runs
        run = int(np.searchsorted(runs, span.index, side="right")) - 1
        if run != self._run:
            self.decode(run)
        first = self._ends[span.index - runs[run]]
        last = self._ends[span.index - runs[run] + 1]
        values = self._floats[first:last]
        if self.choice(span.tensor).places == "all":
            return Block(span.size, None, values)
        return Block(span.size, self._positions[first:last], values)

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

    @property
    def scratch(self) -> tuple[Floats, kernels.Ends]:
        """The values of the run that was decoded last, and where each span's end."""
        return self._floats, self._ends

    def steps(self, first: int, last: int) -> Halves:
        """The steps of spans `first` to `last` of one tensor, of an integer format."""
        streams = self._streams
        self._load(first)
        choice = self.choice(self.layout.spans[first].tensor)
        plane = streams.shape.first(choice.values) + 1
        return self._plane(plane, first, last).view(np.float16)

    def decode(self, run: int) -> tuple[int, int]:
        """Decode a run of spans into scratch; a flaw, and the span where it is."""
        streams = self._streams
        first, last = int(streams.runs[run]), int(streams.runs[run + 1])
        self._run = -1
        self._load(first)
        widest = min(SPAN, self.kept)
        if self._positions.size <= widest:
            self._floats = np.empty(widest, np.float32)
            self._positions = np.empty(widest + 1, np.uint16)
        kept = streams.tables.kept[first:last]
        self._ends = np.zeros(kept.size + 1, np.int64)
        np.cumsum(kept, out=self._ends[1:])
        owners = streams.owners[first:last]
        flaw, at = self._places(first, last)
        cuts = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), kept.size]
        for low, high in pairwise(cuts):
            worse = self._values(first + low, first + high, self._ends[low : high + 1])
            if worse and not flaw:
                flaw, at = worse, first + low
        self._run = run
        return flaw, at

    def _load(self, index: int) -> None:
        chunks = self.layout.chunks
        if self._chunk >= 0 and index in chunks[self._chunk]:
            return
        low, high = 0, len(chunks) - 1
        while low < high:
            middle = (low + high) // 2
            if index < chunks[middle].stop:
                high = middle
            else:
                low = middle + 1
        self._planes, self._chunk, self._run = (), -1, -1
        if self._room is None:
            self._planes = self._streams.load(low)
        else:
            self._room, self._planes = self._streams.load_again(low, self._room)
        self._chunk = low

    def _plane(self, plane: int, first: int, last: int) -> Bytes:
        ends = self._streams.ends[plane]
        base = ends[self.layout.chunks[self._chunk].start]
        return self._planes[plane][ends[first] - base : ends[last] - base]

    def _values(self, first: int, last: int, ends: kernels.Ends) -> int:
        """Values of consecutive spans of one tensor."""
        tensor = int(self._streams.owners[first])
        choice = self.choice(tensor)
        coding = CODINGS[choice.values]
        at = self._streams.shape.first(choice.values)
        planes = [self._plane(at + n, first, last) for n in range(coding.planes)]
        scale = np.float32(2.0 ** self.exponent(tensor))
        out = self._floats[ends[0] : ends[-1]]
        return coding.read(planes, ends - ends[0], scale, out)

    def _places(self, first: int, last: int) -> tuple[int, int]:
        """Places of a run's spans."""
        shape, kind = self._streams.shape, self.wire
        if kind.places == "all":
            return kernels.FINE, first
        flaw, at = kernels.FINE, first
        if shape.places:
            flaw, at = self._told(first, last)
        if kind.places in ("seeded", "mixed"):
            self._draw(first, last)
        return flaw, at

    def _told(self, first: int, last: int) -> tuple[int, int]:
        """Places that travel."""
        streams, shape = self._streams, self._streams.shape
        each = np.flatnonzero(streams.tables.told[first:last])
        tolds = streams.ends[-1, first : last + 1] - streams.ends[-1, first]
        low, lows, code = np.zeros(0, np.uint8), tolds, GAPS
        if shape.low:
            lows = streams.ends[-2, first : last + 1] - streams.ends[-2, first]
            low = self._plane(shape.planes - 2, first, last)
            code = int(streams.tables.codes[self._chunk])
        flaw, at = read_places(
            code,
            self._plane(shape.planes - 1, first, last),
            low,
            tolds,
            lows,
            each,
            streams.sizes[first:last],
            self._ends,
            0,
            self._positions,
        )
        return flaw, first + at

    def _draw(self, first: int, last: int) -> None:
        for index in range(first, last):
            span = self.layout.spans[index]
            choice = self.choice(span.tensor)
            if choice.places != "seeded":
                continue
            if span.tensor not in self._keys:
                self._keys[span.tensor] = mask_key(
                    self.header, self.layout, span.tensor, shared=self.wire.shared
                )
            start, end = self._ends[index - first], self._ends[index - first + 1]
            key = self._keys[span.tensor]
            drawn(key, span, choice.density, self._positions[start:end])

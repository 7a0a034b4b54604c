"""A validated payload: a view of its bytes, decoded span by span on demand."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from . import kernels
from .codings import Counts, Halves
from .masks import drawn, mask_key
from .positions import GAPS, read_places
from .refusals import Reason, refuse
from .streams import Streams
from .values import CODINGS, HALVES
from .vectors import SPAN, Block, Floats, Positions, Span
from .wires import Choice

Bytes = npt.NDArray[np.uint8]

FLAWS = {
    kernels.RANGE: (Reason.INDEX_RANGE, "a place outside its span"),
    kernels.LENGTH: (Reason.LENGTH_MISMATCH, "more or fewer places than values"),
    kernels.LOOSE: (Reason.NOT_CANONICAL, "bits or gaps after the last value"),
    kernels.INFINITE: (Reason.NON_FINITE, "a value is not finite"),
    kernels.NEGATIVE: (Reason.NOT_CANONICAL, "a negative zero"),
    kernels.ZERO: (Reason.NOT_CANONICAL, "a zero is spelled out"),
    kernels.CODE: (Reason.NOT_CANONICAL, "a code that no value has"),
}


class Payload:
    """A validated contribution; it holds one decompressed chunk at most.

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
        widest = min(SPAN, self.kept)
        self._floats = np.empty(widest, np.float32)
        self._positions: Positions = np.empty(widest + 1, np.uint16)

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
        return Payload(self._streams, self.norm, self.peaks)

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
        self._planes, self._chunk = self._streams.load(low), low

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


def validated(streams: Streams) -> tuple[Payload, npt.NDArray[np.float64]]:
    """Every chunk is decompressed and every value looked at, once.

    Returns:
        The payload; by tensor, its largest step or magnitude, from which e follows.

    Raises:
        RefusedError: with the first thing that is wrong.
    """
    layout, choices = streams.layout, streams.tables.choices
    payload = Payload(streams, 0.0, np.zeros(len(layout.names), np.float32))
    zeros = np.array([one.places != "gaps" for one in choices], np.bool_)
    grouped = np.array([CODINGS[one.values].group > 0 for one in choices], np.bool_)
    found = np.zeros(len(layout.spans), np.float64)
    steps = np.zeros(len(layout.names), np.float64)
    total = 0.0
    for run, first in enumerate(streams.runs[:-1].tolist()):
        last = int(streams.runs[run + 1])
        owners = streams.owners[first:last]
        flaw, at = payload.decode(run)
        _check(flaw, layout.names[streams.owners[at]])
        flaw, at, squares = kernels.examine(
            payload._floats,  # noqa: SLF001 - our own
            np.arange(last - first),
            payload._ends,  # noqa: SLF001 - our own
            zeros[owners],
            found[first:last],
        )
        _check(flaw, layout.names[owners[at]])
        total += squares
        for index in np.flatnonzero(grouped[owners]).tolist():
            halves = payload.steps(first + index, first + index + 1).view(np.uint16)
            top = float(HALVES[halves.max(initial=0)])
            steps[owners[index]] = max(steps[owners[index]], top)
    np.maximum.at(payload.peaks, streams.owners, found.astype(np.float32))
    payload.peaks.flags.writeable = False
    payload.norm = float(np.sqrt(total))
    scaled = np.ldexp(steps, streams.tables.exponents)
    return payload, np.where(grouped, scaled, payload.peaks)


def _check(flaw: int, tensor: str) -> None:
    """Refuse what a loop found, unless it is `kernels.FINE`."""
    if flaw != kernels.FINE:
        reason, detail = FLAWS[flaw]
        refuse(reason, f"{tensor}: {detail}")

"""Contributions to bytes: one tensor at a time, one chunk of frames at a time."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from . import integers, positions
from .containers import Array, pack
from .errors import BoundsError, PayloadError
from .frames import LONG, pressed
from .headers import Header, metadata
from .masks import counted, drawn, mask_key, rounding_key
from .payloads import Payload
from .places import Threshold, taken, threshold
from .tables import PACKED, Shape, Tables, version_of, written
from .values import CODINGS, Coding, Draft, Halves, exponent
from .vectors import SPAN, Contribution, Floats, Layout, Positions, Span, TaskVector
from .wires import AUTO, Choice, Wire
from .wires import wire as named

Bytes = npt.NDArray[np.uint8]
Ends = npt.NDArray[np.int64]

BITS_FROM, WIDE_TO = 0.1, 0.006
"""Densities from which bits, and up to which wide gaps, are tried."""

PASSES = 3
"""How often what would be written as zeros is left out of an integer format."""


def encode(
    vector: Contribution, wire: str, header: Header, choices: Sequence[Choice] = ()
) -> bytes:
    """Write a contribution.

    Args:
        vector: what to send; all of it must be finite.
        wire: the format's text; "dare" divides what it keeps by its density.
        header: what the payload says of itself; its `wire` is filled in here.
        choices: how each tensor travels, where the format is "mixed".

    Returns:
        The payload. The same input gives the same bytes with the same zstd.

    Raises:
        BoundsError: a value is not finite, or too large for any scale.
        PayloadError: the header names another layout than the vector's.
        ConfigError: no such format.
    """
    kind = named(wire)
    if kind.name == AUTO or (kind.places == "mixed") != bool(choices):
        raise PayloadError(f"{wire}: say how each tensor travels, in format mixed")
    each = tuple(choices) or (kind.choice,) * len(vector.layout.names)
    return _packed(vector, kind, header, _Job(each, version_of(kind), kind.gain))


def repack(payload: Payload) -> bytes:
    """Write what was decoded again: the same streams, whatever the compressor."""
    streams = payload.streams
    tables = streams.tables
    job = _Job(tables.choices, streams.version, 1.0, payload, tables.codes)
    return _packed(payload, payload.wire, payload.header, job)


@dataclass(frozen=True, slots=True)
class _Job:
    """How a vector is written.

    Attributes:
        choices: how each tensor travels.
        version: of the tables.
        gain: what seeded values are multiplied by.
        again: what is written again, with its steps.
        codes: how each chunk's places are written; none: what takes fewest bytes.
    """

    choices: tuple[Choice, ...]
    version: int
    gain: float
    again: Payload | None = None
    codes: npt.NDArray[np.int64] | None = None


@dataclass(slots=True)
class _Piece:
    """What one tensor has in one chunk.

    Attributes:
        spans: of the chunk.
        ends: [spans + 1] values before each.
        values: [k].
        places: [k] within their spans; None where they do not travel.
    """

    spans: Sequence[Span]
    ends: Ends
    values: Floats
    places: Positions | None


def _packed(vector: Contribution, kind: Wire, header: Header, job: _Job) -> bytes:
    layout = vector.layout
    if header.layout != layout.fingerprint:
        raise PayloadError("the header's layout is not the vector's")
    writer = _Writer(kind, layout, job)
    scratch = np.empty(0, np.uint32)
    if any(one.places == "gaps" for one in job.choices):
        scratch = np.empty(max(layout.sizes, default=0), np.uint32)
    first = 0
    for tensor, (name, size) in enumerate(zip(layout.names, layout.sizes, strict=True)):
        spans = layout.spans[first : first + -(-size // SPAN)]
        first += len(spans)
        if not spans:
            continue
        dense = _gathered(vector, spans, name)
        pieces = list(
            _pieces(dense, spans, kind, header, (job, tensor, scratch, layout))
        )
        key = rounding_key(header, name) if kind.rounding == "stochastic" else 0
        writer.add(tensor, pieces, key)
    said = replace(header, wire=str(kind))
    kept = int(sum(writer.kept))
    return pack(metadata(said, kept, job.version, layout), writer.tensors())


def _gathered(vector: Contribution, spans: Sequence[Span], name: str) -> Floats:
    if isinstance(vector, TaskVector):
        dense = np.ascontiguousarray(vector.tensors[name], np.float32).reshape(-1)
    else:
        dense = np.empty(sum(span.size for span in spans), np.float32)
        for span in spans:
            dense[span.start : span.start + span.size] = vector.block(span).dense()
    if not positions.finite(dense):
        raise BoundsError("a value is not finite", tensor=name)
    return dense


def _pieces(
    dense: Floats,
    spans: Sequence[Span],
    kind: Wire,
    header: Header,
    where: tuple[_Job, int, npt.NDArray[np.uint32], Layout],
) -> Iterator[_Piece]:
    """A tensor's places and values, chunk by chunk, before they are coded."""
    job, tensor, scratch, layout = where
    choice = job.choices[tensor]
    at = Threshold(0, 0, 0)
    if choice.places == "gaps":
        at = threshold(dense, choice.most(dense.size), scratch)
    ties = at.ties
    key = 0
    if choice.places == "seeded":
        key = mask_key(header, layout, tensor, shared=kind.shared)
    for group in _by_chunk(spans, layout):
        start, stop = group[0].start, group[-1].start + group[-1].size
        values = dense[start:stop]
        ends = np.array([span.start - start for span in group] + [stop - start])
        if choice.places == "gaps":
            places, values, ties = taken(values, at, ends, ties)
            yield _Piece(group, ends, values, places)
        elif choice.places == "seeded":
            values, ends = _masked(values, group, key, choice.density)
            if job.gain != 1:
                with np.errstate(over="ignore"):  # what overflows is refused below
                    values = values * np.float32(job.gain)
            yield _Piece(group, ends, values, None)
        else:
            yield _Piece(group, ends, values, None)


def _masked(
    values: Floats, spans: Sequence[Span], key: int, density: float
) -> tuple[Floats, Ends]:
    counts = [counted(key, span, density) for span in spans]
    ends = np.zeros(len(spans) + 1, np.int64)
    np.cumsum(counts, out=ends[1:])
    found = np.empty(int(ends[-1]), np.float32)
    for at, span in enumerate(spans):
        places = np.empty(counts[at], np.uint16)
        drawn(key, span, density, places)
        first = span.start - spans[0].start
        found[ends[at] : ends[at + 1]] = values[first : first + span.size][places]
    return found, ends


def _by_chunk(spans: Sequence[Span], layout: Layout) -> Iterator[Sequence[Span]]:
    at = 0
    for chunk in layout.chunks:
        if chunk.stop <= spans[0].index or chunk.start > spans[-1].index:
            continue
        count = min(chunk.stop, spans[-1].index + 1) - spans[at].index
        yield spans[at : at + count]
        at += count


class _Writer:
    """Collects planes piece by piece and closes a chunk's frames when it is full."""

    def __init__(self, kind: Wire, layout: Layout, job: _Job) -> None:
        self.kind = kind
        self.layout = layout
        self.job = job
        self.shape = Shape.of(kind, job.version)
        self.kept: list[int] = []
        self.told: list[int] = []
        self.codes: list[int] = []
        self.exponents = np.zeros(len(layout.names), np.int64)
        self.frames: list[bytes] = []
        self.sizes: list[list[int]] = []
        self.open()

    def open(self) -> None:
        """Begin a chunk."""
        held = self.shape.planes - self.shape.low - self.shape.places
        self.planes: list[list[bytes]] = [[] for _ in range(held)]
        self.pieces: list[_Piece] = []

    def add(self, tensor: int, pieces: list[_Piece], key: int) -> None:
        """Write one tensor."""
        choice = self.job.choices[tensor]
        coding = CODINGS[choice.values]
        e = self.exponent(tensor, coding, pieces, choice)
        self.exponents[tensor] = e
        at = 0
        for piece in pieces:
            drafted = Draft(
                piece.values,
                piece.ends,
                np.float32(2.0**-e),
                key,
                at,
                self.steps(coding, piece),
            )
            first = self.shape.first(choice.values)
            for plane, row in enumerate(coding.write(drafted), first):
                self.planes[plane].append(bytes(row))
            at += piece.values.size
            self.pieces.append(piece)
            self.kept += np.diff(piece.ends).tolist()
            if piece.spans[-1].index + 1 == self.layout.chunks[len(self.sizes)].stop:
                self.close()

    def exponent(
        self, tensor: int, coding: Coding, pieces: list[_Piece], choice: Choice
    ) -> int:
        """A tensor's e; what would be written as zeros where it need not is left out.

        Raises:
            BoundsError: it is too large.
        """
        if self.job.again is not None:
            return self.job.again.exponent(tensor)
        for passed in range(1 << 16):
            peak = max((coding.peak(p.values, p.ends) for p in pieces), default=0.0)
            e = exponent(coding, peak) if np.isfinite(peak) else coding.most + 1
            if e > coding.most:
                raise BoundsError("too large to send", tensor=self.layout.names[tensor])
            if choice.places != "gaps" or not _lost(coding, pieces, (peak, e, passed)):
                break
        return e

    def steps(self, coding: Coding, piece: _Piece) -> Halves | None:
        """The steps that a payload had, where it is written again."""
        if self.job.again is None or not coding.group:
            return None
        first, last = piece.spans[0].index, piece.spans[-1].index + 1
        return self.job.again.steps(first, last)

    def close(self) -> None:
        """Press a chunk's planes."""
        frames = [pressed(b"".join(rows)) for rows in self.planes]
        if self.shape.places:
            frames += self.places()
        self.sizes.append([len(frame) for frame in frames])
        self.frames += frames
        self.open()

    def places(self) -> list[bytes]:
        """A chunk's low bytes and places, in the code that takes fewest bytes."""
        spans = [span for piece in self.pieces for span in piece.spans]
        sizes = np.array([span.size for span in spans], np.int64)
        kept = [np.diff(p.ends) * (p.places is not None) for p in self.pieces]
        ends = np.zeros(sizes.size + 1, np.int64)
        np.cumsum(np.concatenate(kept), out=ends[1:])
        held = [p.places for p in self.pieces if p.places is not None]
        every = np.concatenate([*held, np.zeros(0, np.uint16)]).astype(np.uint16)
        tried = [
            (code, *_spelled(code, every, ends, sizes))
            for code in self.tried(ends, sizes)
        ]
        code, places, low, counts = min(
            tried, key=lambda one: len(one[1]) + len(one[2])
        )
        self.codes.append(code)
        self.told += counts
        return [low, places] if self.shape.low else [places]

    def tried(self, ends: Ends, sizes: Ends) -> list[int]:
        """Which codes of places may be the shortest."""
        if self.job.codes is not None:
            given = self.job.codes
            return [int(given[len(self.sizes)]) if given.size else positions.GAPS]
        if self.job.version != PACKED:
            return [positions.GAPS]
        density = ends[-1] / sizes[np.diff(ends) > 0].sum() if ends[-1] else 0.0
        more = [positions.BITS] if density > BITS_FROM else []
        more += [positions.WIDE] if 0 < density < WIDE_TO else []
        return [positions.GAPS, *more]

    def tensors(self) -> dict[str, Array]:
        """What the container holds, in its order."""
        tables = Tables(
            np.array(self.sizes, np.int64).reshape(-1, self.shape.planes),
            np.array(self.codes, np.int64),
            np.array(self.kept, np.int64),
            np.array(self.told, np.int64),
            self.job.choices,
            self.exponents,
        )
        found = written(tables, self.kind, self.job.version)
        found["frames"] = np.frombuffer(b"".join(self.frames), np.uint8)
        return found


def _lost(coding: Coding, pieces: list[_Piece], scale: tuple[float, int, int]) -> bool:
    """Leave out what would be written as zeros; whether anything was.

    What is left has other groups, and so other steps: after a few passes what would
    still be a zero becomes the smallest there is.
    """
    peak, e, passed = scale
    lost = False
    normal = not coding.top or math.ldexp(peak, -e) > coding.top / 2
    least = coding.safe * peak if normal else math.inf
    for piece in pieces:
        if not piece.values.size or np.abs(piece.values).min() > least:
            continue
        unit = np.float32(2.0**e)
        planes = coding.write(Draft(piece.values, piece.ends, 1 / unit))
        for plane in planes:
            plane.flags.writeable = False
        decoded = np.empty(piece.values.size, np.float32)
        coding.read(planes, piece.ends, unit, decoded)
        some = decoded != 0
        if some.all() or piece.places is None:
            continue
        if coding.group and passed >= PASSES:
            steps = planes[1].view(np.float16).astype(np.float32) * unit
            integers.lift(piece.values, piece.ends, coding.group, steps)
            continue
        kept = np.concatenate([[0], np.cumsum(some)])
        piece.ends = kept[piece.ends]
        piece.values, piece.places = piece.values[some], piece.places[some]
        lost = True
    return lost


def _spelled(
    code: int, places: Positions, ends: Ends, sizes: Ends
) -> tuple[bytes, bytes, list[int]]:
    """Frames of places and of low bytes, and bytes of places of each span."""
    kept = np.diff(ends)
    counts = np.zeros(sizes.size, np.int64)
    if code == positions.BITS:
        counts[:] = np.where(kept > 0, -(-sizes // 8), 0)
        bits = np.zeros(int(counts.sum()), np.uint8)
        positions.write_bits(places, ends, np.cumsum(counts) - counts, bits)
        return _shortest(bits), b"", counts.tolist()
    if code == positions.WIDE:
        low = np.empty(places.size, np.uint8)
        bits = np.zeros(int((-(-(kept + sizes // 256) // 8)).sum()), np.uint8)
        count = positions.write_wide(places, ends, low, bits, counts)
        return _shortest(bits[:count]), pressed(low.tobytes()), counts.tolist()
    gaps = np.empty(places.size + int((sizes // positions.ESCAPE).sum()), np.uint8)
    count = positions.write_gaps(places, ends, gaps, counts)
    return _shortest(gaps[:count]), b"", counts.tolist()


def _shortest(plane: Bytes) -> bytes:
    """The frame of a plane of places with short matches or without, as it pays."""
    data = plane.tobytes()
    return min(pressed(data), pressed(data, matches=LONG), key=len)

"""Pieces to frames: one chunk's planes are collected, then pressed."""

import math

import numpy as np
import numpy.typing as npt

from . import integers, positions
from .codings import Coding, Draft, Halves, exponent
from .containers import Array
from .errors import BoundsError
from .frames import LONG, pressed
from .pieces import Ends, Job, Piece
from .tables import PACKED, Shape, Tables, written
from .values import CODINGS
from .vectors import Layout, Positions
from .wires import Choice, Wire

Bytes = npt.NDArray[np.uint8]

BITS_FROM, WIDE_TO = 0.1, 0.006
"""Densities from which bits, and up to which wide gaps, are tried."""

PASSES = 3
"""How often what would be written as zeros is left out of an integer format."""


class Writer:
    """Collects planes piece by piece and closes a chunk's frames when it is full."""

    def __init__(self, kind: Wire, layout: Layout, job: Job) -> None:
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
        self.pieces: list[Piece] = []

    def add(self, tensor: int, pieces: list[Piece], key: int) -> None:
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
        self, tensor: int, coding: Coding, pieces: list[Piece], choice: Choice
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

    def steps(self, coding: Coding, piece: Piece) -> Halves | None:
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


def _lost(coding: Coding, pieces: list[Piece], scale: tuple[float, int, int]) -> bool:
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

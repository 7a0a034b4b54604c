"""What of each tensor is written into each chunk: its places and values, uncoded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import positions
from .errors import BoundsError
from .headers import Header
from .masks import counted, drawn, mask_key
from .payloads import Payload
from .places import Threshold, taken, threshold
from .vectors import Contribution, Floats, Layout, Positions, Span, TaskVector
from .wires import Choice, Wire

Ends = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Job:
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
class Piece:
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


def gathered(vector: Contribution, spans: Sequence[Span], name: str) -> Floats:
    """A tensor's values, all finite."""
    if isinstance(vector, TaskVector):
        dense = np.ascontiguousarray(vector.tensors[name], np.float32).reshape(-1)
    else:
        dense = np.empty(sum(span.size for span in spans), np.float32)
        for span in spans:
            dense[span.start : span.start + span.size] = vector.block(span).dense()
    if not positions.finite(dense):
        raise BoundsError("a value is not finite", tensor=name)
    return dense


def pieces(
    dense: Floats,
    spans: Sequence[Span],
    kind: Wire,
    header: Header,
    where: tuple[Job, int, npt.NDArray[np.uint32], Layout],
) -> Iterator[Piece]:
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
            yield Piece(group, ends, values, places)
        elif choice.places == "seeded":
            values, ends = _masked(values, group, key, choice.density)
            if job.gain != 1:
                with np.errstate(over="ignore"):  # what overflows is refused below
                    values = values * np.float32(job.gain)
            yield Piece(group, ends, values, None)
        else:
            yield Piece(group, ends, values, None)


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

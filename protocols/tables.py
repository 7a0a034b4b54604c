"""The tables of a payload: how long each frame is, and what each span and tensor has.

Version 1 has them as they are, version 2 (wherever places travel) packed in one frame.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import positions
from .codings import LEAST, MOST, Counts
from .containers import Array, Container
from .frames import inflated, pressed
from .headers import Header
from .masks import counted, mask_key
from .refusals import Reason, RefusedError, refuse
from .values import CODINGS
from .vectors import Layout
from .wires import VALUES, Choice, Wire

PLAIN, PACKED = 1, 2
"""Versions of a payload: with plain tables, and with packed ones."""

KINDS = len(VALUES) + 16 * 16


@dataclass(frozen=True, slots=True)
class Shape:
    """What follows from a wire format and a version.

    Attributes:
        codings: the formats of values that have planes, in their order.
        low: whether there is a plane of gaps' low bytes.
        places: whether there is a plane of places.
    """

    codings: tuple[str, ...]
    low: bool
    places: bool

    @classmethod
    def of(cls, kind: Wire, version: int) -> "Shape":
        """The shape of a payload."""
        codings = VALUES if kind.places == "mixed" else (kind.values,)
        told = kind.places in ("gaps", "mixed")
        return cls(codings, told and version == PACKED, told)

    @property
    def planes(self) -> int:
        """How many planes a chunk has."""
        held = sum(CODINGS[name].planes for name in self.codings)
        return held + self.low + self.places

    def first(self, coding: str) -> int:
        """The first plane of a format of values."""
        before = self.codings[: self.codings.index(coding)]
        return sum(CODINGS[name].planes for name in before)


@dataclass(frozen=True, slots=True)
class Tables:
    """What a payload's tables say.

    Attributes:
        chunks: [chunks, planes] bytes of each frame.
        codes: [chunks] how places are written, as `positions` names it.
        kept: [spans] values of each.
        told: [spans] bytes of each in the plane of places.
        choices: [tensors] how each travels.
        exponents: [tensors] each one's e.
    """

    chunks: Counts
    codes: Counts
    kept: Counts
    told: Counts
    choices: tuple[Choice, ...]
    exponents: Counts


def version_of(kind: Wire) -> int:
    """The version that a format is written in."""
    return PACKED if kind.places in ("gaps", "mixed") else PLAIN


def written(tables: Tables, kind: Wire, version: int) -> dict[str, Array]:
    """The tables as tensors of a container."""
    found: dict[str, Array] = {}
    chunks = tables.chunks.astype(np.uint32)
    if version == PACKED:
        parts: list[Array] = [chunks.reshape(-1), tables.codes, tables.kept]
        parts.append(tables.told)
        if kind.places == "mixed":
            parts.append(np.array([one.kind for one in tables.choices]))
        numbers = np.concatenate([part.astype("<u4") for part in parts])
        planes = np.ascontiguousarray(numbers.view(np.uint8).reshape(-1, 4).T)
        found["tables"] = np.frombuffer(pressed(planes.tobytes()), np.uint8)
    else:
        found["chunks"] = chunks
        if kind.places == "gaps":
            blocks = np.array([tables.kept, tables.told], np.uint32).T
            found["blocks"] = np.ascontiguousarray(blocks)
    if scaled(kind):
        found["scales"] = tables.exponents.astype(np.int8)
    return found


def scaled(kind: Wire) -> bool:
    """Whether a format's values have exponents."""
    return kind.places == "mixed" or bool(CODINGS[kind.values].top)


def read(
    container: Container, header: Header, kind: Wire, layout: Layout, version: int
) -> Tables:
    """The tables of a payload, held to its layout.

    Raises:
        RefusedError: with the first thing that does not fit.
    """
    planes = Shape.of(kind, version).planes
    chunks, spans = len(layout.chunks), len(layout.spans)
    shapes: dict[str, tuple[type[Any], tuple[int, ...] | None]] = {}
    if version == PACKED:
        shapes["tables"] = (np.uint8, None)
    else:
        shapes["chunks"] = (np.uint32, (chunks, planes))
        if kind.places == "gaps":
            shapes["blocks"] = (np.uint32, (spans, 2))
    if scaled(kind):
        shapes["scales"] = (np.int8, (len(layout.names),))
    shapes["frames"] = (np.uint8, None)
    found = _expected(container, shapes)
    codes = told = np.zeros(0, np.int64)
    kinds = np.zeros(0, np.int64)
    if version == PACKED:
        mixed = len(layout.names) if kind.places == "mixed" else 0
        counts = (chunks * planes, chunks, spans, spans, mixed)
        frames, codes, kept, told, kinds = _unpacked(found["tables"], counts)
    else:
        frames, codes = found["chunks"].astype(np.int64), np.zeros(chunks, np.int64)
        kept, told = found.get("blocks", np.zeros((0, 2))).astype(np.int64).T
    exponents = found.get("scales", np.zeros(len(layout.names))).astype(np.int64)
    if exponents.size and (exponents.min() < LEAST or exponents.max() > MOST):
        refuse(Reason.BAD_SCALE, f"exponents are {LEAST} to {MOST}")
    tables = Tables(
        frames.reshape(chunks, planes),
        codes,
        kept,
        told,
        _choices(kind, kinds, layout),
        exponents,
    )
    return _checked(tables, header, kind, layout)


def _expected(
    container: Container, shapes: dict[str, tuple[type[Any], tuple[int, ...] | None]]
) -> dict[str, npt.NDArray[Any]]:
    if list(container.tensors) != list(shapes):
        raise RefusedError(Reason.KEYS_MISMATCH, f"expected {', '.join(shapes)}")
    for name, (dtype, shape) in shapes.items():
        found = container.tensors[name]
        if found.dtype != dtype:
            raise RefusedError(Reason.BAD_DTYPE, f"{name} is {found.dtype}")
        if found.shape != (shape or (found.size,)):
            raise RefusedError(Reason.SHAPE_MISMATCH, f"{name} is {found.shape}")
    return dict(container.tensors)


def _unpacked(frame: npt.NDArray[Any], counts: tuple[int, ...]) -> list[Counts]:
    total = sum(counts)
    data = inflated(frame, 4 * total, Reason.SHAPE_MISMATCH)
    planes = np.frombuffer(data, np.uint8).reshape(4, total)
    numbers = np.ascontiguousarray(planes.T).reshape(-1).view("<u4").astype(np.int64)
    return np.split(numbers, np.cumsum(counts)[:-1])


def _choices(kind: Wire, kinds: Counts, layout: Layout) -> tuple[Choice, ...]:
    if kind.places != "mixed":
        return (kind.choice,) * len(layout.names)
    found = tuple(Choice.of(one) for one in kinds.tolist())
    if None in found:
        refuse(Reason.WRONG_SCHEMA, "a tensor in an unknown format")
    return tuple(one for one in found if one is not None)


def _checked(tables: Tables, header: Header, kind: Wire, layout: Layout) -> Tables:
    """Fill in counts that follow from the layout or a mask; check the others."""
    sizes = np.array([span.size for span in layout.spans], np.int64)
    owners = np.array([span.tensor for span in layout.spans], np.int64)
    gaps = _by_tensor(tables.choices, "gaps")[owners]
    kept = _drawn(tables.choices, header, kind, layout)
    known = kept.copy()
    told = np.zeros(sizes.size, np.int64)
    if tables.kept.size:
        kept[gaps], told = tables.kept[gaps], tables.told
        if (tables.kept[~gaps] != known[~gaps]).any() or told[~gaps].any():
            refuse(Reason.LENGTH_MISMATCH, "counts that nobody needs")
    if (kept > sizes).any():
        refuse(Reason.TOO_DENSE, "more values than places")
    sums = np.bincount(owners, kept, len(layout.names))
    _places(tables.codes, kept, told, sizes, gaps, layout)
    for choice, size, count in zip(tables.choices, layout.sizes, sums, strict=True):
        most = kind.most(size) if kind.places == "gaps" else size
        if choice.places == "gaps" and count > most:
            refuse(Reason.TOO_DENSE, f"{count:.0f} of {size} values")
    return Tables(
        tables.chunks, tables.codes, kept, told, tables.choices, tables.exponents
    )


def _by_tensor(choices: tuple[Choice, ...], places: str) -> npt.NDArray[np.bool_]:
    return np.array([one.places == places for one in choices], np.bool_)


def _drawn(
    choices: tuple[Choice, ...], header: Header, kind: Wire, layout: Layout
) -> Counts:
    """[spans] how many values each has where it follows from the layout or a mask."""
    kept = np.array([span.size for span in layout.spans], np.int64)
    keys: dict[int, int] = {}
    for span in layout.spans:
        choice = choices[span.tensor]
        if choice.places == "gaps":
            kept[span.index] = 0
        elif choice.places == "seeded":
            if span.tensor not in keys:
                keys[span.tensor] = mask_key(
                    header, layout, span.tensor, shared=kind.shared
                )
            kept[span.index] = counted(keys[span.tensor], span, choice.density)
    return kept


def _places(
    codes: Counts,
    kept: Counts,
    told: Counts,
    sizes: Counts,
    gaps: npt.NDArray[np.bool_],
    layout: Layout,
) -> None:
    """Bytes of places are what their code makes of so many."""
    if codes.size and codes.max() > positions.WIDE:
        refuse(Reason.WRONG_SCHEMA, "places in an unknown code")
    lengths = [len(chunk) for chunk in layout.chunks]
    each = np.repeat(codes, lengths) if codes.size else codes
    least, most = kept, kept + sizes // positions.ESCAPE
    if each.size:
        bits = -(-sizes // 8)
        least = np.choose(each, [kept, bits, -(-kept // 8)])
        wide = -(-(kept + sizes // 256) // 8)
        most = np.choose(each, [kept + sizes // positions.ESCAPE, bits, wide])
    least, most = np.where(kept > 0, least, 0), np.where(kept > 0, most, 0)
    if (gaps & ((told < least) | (told > most))).any():
        refuse(Reason.LENGTH_MISMATCH, "bytes of places and values differ")

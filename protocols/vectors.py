"""Task vectors: what a client changed, as runs of one flat coordinate space.

A task vector is the difference between fine-tuned and base weights (Ilharco et
al., `Editing Models with Task Arithmetic <https://arxiv.org/abs/2212.04089>`_,
2023). All tensors of a vector lie one behind the other, in name order, in one flat
space of ``N`` coordinates. It is worked through in *spans*, runs of at most 2^16
coordinates that never cross from one tensor into the next, and stored in *chunks*,
groups of consecutive spans of at most 2^20 coordinates.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .errors import PayloadError

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.uint16]

SPAN = 1 << 16
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Span:
    """A run of coordinates inside one tensor.

    Attributes:
        index: its place among the layout's spans.
        tensor: the place of its tensor in the layout.
        start: first element, counted within the tensor (row-major).
        flat: first element, counted in the whole flat space.
        size: how many elements, from 1 to 2^16.
    """

    index: int
    tensor: int
    start: int
    flat: int
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Which tensors a vector has, in canonical (name) order.

    Attributes:
        names: the tensors' names, strictly increasing.
        shapes: their shapes; an empty tensor is allowed and has no span.

    Example:
        >>> layout = Layout.of({"b": (2, 3), "a": (4,)})
        >>> layout.names, layout.size, [span.flat for span in layout.spans]
        (('a', 'b'), 10, [0, 4])
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, shapes: Mapping[str, Iterable[int]]) -> "Layout":
        """Lay tensors out by name."""
        names = tuple(sorted(shapes))
        return cls(names, tuple(tuple(int(d) for d in shapes[n]) for n in names))

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many elements each tensor has."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @property
    def size(self) -> int:
        """How many coordinates there are in all, ``N``."""
        return sum(self.sizes)

    @property
    def spans(self) -> tuple[Span, ...]:
        """Every span, in flat order."""
        return _spans(self)

    @property
    def chunks(self) -> tuple[range, ...]:
        """Ranges of span indices that are stored together, in flat order."""
        return _chunks(self)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of names and shapes: equal exactly where layouts are."""
        text = json.dumps([self.names, self.shapes], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def place(self, name: str) -> int:
        """Where a tensor stands.

        Raises:
            PayloadError: there is no tensor of that name.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise PayloadError("no such tensor", tensor=name) from None


@lru_cache(maxsize=64)
def _spans(layout: Layout) -> tuple[Span, ...]:
    spans: list[Span] = []
    flat = 0
    for tensor, size in enumerate(layout.sizes):
        for start in range(0, size, SPAN):
            length = min(SPAN, size - start)
            spans.append(Span(len(spans), tensor, start, flat + start, length))
        flat += size
    return tuple(spans)


@lru_cache(maxsize=64)
def _chunks(layout: Layout) -> tuple[range, ...]:
    chunks: list[range] = []
    first, held = 0, 0
    for span in layout.spans:
        if held + span.size > CHUNK:
            chunks.append(range(first, span.index))
            first, held = span.index, 0
        held += span.size
    if held:
        chunks.append(range(first, len(layout.spans)))
    return tuple(chunks)


@dataclass(frozen=True, slots=True)
class Block:
    """What a contribution holds in one span.

    Attributes:
        size: how many coordinates the span has, ``n``.
        positions: [k] kept places within the span, strictly increasing; None where
            all are kept.
        values: [k] the change at each place ([n] where all are kept), in units of
            the weight itself. A view: valid until the next block is read.
    """

    size: int
    positions: Positions | None
    values: Floats

    def dense(self) -> Floats:
        """[n] the change everywhere, 0 where nothing was kept."""
        if self.positions is None:
            return self.values
        whole = np.zeros(self.size, np.float32)
        whole[self.positions] = self.values
        return whole


class Contribution(Protocol):
    """One client's task vector, read span by span in any order."""

    @property
    def layout(self) -> Layout:
        """The tensors it has."""

    def block(self, span: Span) -> Block:
        """What it holds in one span of its layout."""


@dataclass(frozen=True, slots=True)
class TaskVector:
    """A task vector in memory (or memory-mapped), dense.

    Attributes:
        layout: the tensors it has.
        tensors: the change by name, float32, in the layout's shapes.

    Example:
        >>> vector = TaskVector.of({"w": np.float32([[1, 0], [0, -2]])})
        >>> vector.block(vector.layout.spans[0]).values
        array([ 1.,  0.,  0., -2.], dtype=float32)
    """

    layout: Layout
    tensors: Mapping[str, Floats]

    @classmethod
    def of(cls, tensors: Mapping[str, Floats]) -> "TaskVector":
        """Take tensors as they are."""
        return cls(Layout.of({n: t.shape for n, t in tensors.items()}), tensors)

    def block(self, span: Span) -> Block:
        """What it holds in one span: a view."""
        flat = self.tensors[self.layout.names[span.tensor]].reshape(-1)
        return Block(span.size, None, flat[span.start : span.start + span.size])


@dataclass(frozen=True, slots=True)
class Pair:
    """Two tensors of a layout that are one low-rank change of a weight.

    Attributes:
        weight: the weight that they change, "....query.weight", [out, in].
        a: name of the right factor, "....query.lora_A.weight", [r, in].
        b: name of the left factor, "....query.lora_B.weight", [out, r].
        scaling: s of the change s B A: alpha / r, or alpha / sqrt(r).
    """

    weight: str
    a: str
    b: str
    scaling: float

"""Where members' values lie, as far as a compiled loop can go and read them there."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..protocols.errors import BoundsError
from ..protocols.payloads import Payload
from ..protocols.vectors import Contribution, Layout, Span, TaskVector
from . import loads
from .base import Member, Reducer
from .scales import Numbers
from .views import Scaled, Trimmed

Array = npt.NDArray[Any]

KINDS = {"F32": loads.F32, "BF16": loads.BF16, "F16": loads.F16, "F64": loads.F64}


@runtime_checkable
class Lying(Protocol):
    """A contribution whose tensors lie somewhere, as such or as differences."""

    @property
    def layout(self) -> Layout:
        """The tensors it has."""

    def lies(self, tensor: int) -> tuple[tuple[str, Array], tuple[str, Array] | None]:
        """Dtype (by safetensors' name) and elements; those to be taken from them."""


@dataclass(frozen=True)
class Leaf:
    """A contribution without what only scales and trims it.

    Attributes:
        source: the contribution.
        gain: what its values are multiplied by, after they were trimmed.
        trimmed: how they are trimmed.
    """

    source: Contribution
    gain: float = 1.0
    trimmed: Trimmed | None = None

    @cached_property
    def places(self) -> list[tuple[tuple[int, int], tuple[int, int]]] | None:
        """By tensor, kind and address of its elements, and of what is taken off.

        None where they are not laid out as the loops need them.
        """
        found = []
        for tensor in range(len(self.source.layout.names)):
            held = _lies(self.source, tensor)
            if held is None:
                return None
            given, base = held
            one, other = (
                _place(given),
                (loads.NONE, 0) if base is None else _place(base),
            )
            if one is None or other is None:
                return None
            found.append((one, other))
        return found

    def cut(self, span: Span) -> tuple[int, int]:
        """Least magnitude kept from a span on, and how many that equal it (-1: all)."""
        if self.trimmed is None:
            return 0, -1
        cut = self.trimmed.cuts[span.tensor]
        if cut.ties < 0:
            return (cut.threshold if cut.threshold > 1 else 0), -1
        return cut.threshold, max(0, cut.ties - self.trimmed.used[span.index])


def leaf(contribution: Contribution) -> Leaf | None:
    """What a contribution is computed from, where that is simple enough."""
    gain, trimmed = 1.0, None
    if isinstance(contribution, Scaled):
        gain, contribution = contribution.gain, contribution.source
    if isinstance(contribution, Trimmed):
        trimmed, contribution = contribution, contribution.source
    if isinstance(contribution, Payload | TaskVector | Lying):
        return Leaf(contribution, gain, trimmed)
    return None


def reader(contribution: Contribution) -> Contribution:
    """The same contribution for a thread of its own."""
    if isinstance(contribution, Scaled | Trimmed):
        return replace(contribution, source=reader(contribution.source))
    return contribution.clone() if isinstance(contribution, Payload) else contribution


def payload(contribution: Contribution) -> Payload | None:
    """The payload that a contribution is computed from, where it is of one."""
    source: Contribution | None = contribution
    while source is not None and not isinstance(source, Payload):
        source = getattr(source, "source", None)
    return source


def release(contribution: Contribution) -> None:
    """Let go of what is held of a contribution that is not read on now."""
    found = payload(contribution)
    if found is not None:
        found.release()


def succeed(contribution: Contribution, other: Contribution) -> None:
    """Read one with the memory that another was read with, which is let go."""
    one, before = payload(contribution), payload(other)
    if one is before:
        return
    if before is not None and one is not None:
        one.succeed(before)
    elif before is not None:
        before.release()


def _lies(
    source: Contribution, tensor: int
) -> tuple[tuple[str, Array], tuple[str, Array] | None] | None:
    if isinstance(source, TaskVector):
        return ("F32", source.tensors[source.layout.names[tensor]]), None
    return source.lies(tensor) if isinstance(source, Lying) else None


def _place(held: tuple[str, Array]) -> tuple[int, int] | None:
    kind, array = held
    if kind not in KINDS:
        return None
    width = np.dtype(np.float32 if kind == "F32" else array.dtype)
    if array.dtype != width or not (array.flags.c_contiguous and array.flags.aligned):
        return None
    return KINDS[kind], int(array.ctypes.data)


@dataclass(frozen=True)
class Work:
    """What is merged.

    Attributes:
        reducer: how.
        members: in canonical order.
        numbers: their shares.
        gain: what the result is multiplied by.
    """

    reducer: Reducer
    members: Sequence[Member]
    numbers: Numbers
    gain: float

    @property
    def layout(self) -> Layout:
        """The members'."""
        return self.members[0].contribution.layout

    @cached_property
    def shares(self) -> list[int]:
        """What each member counts for."""
        return [self.numbers.shares[one.name] for one in self.members]

    @cached_property
    def leaves(self) -> list[Leaf | None]:
        """What each member is computed from."""
        return [leaf(one.contribution) for one in self.members]

    @cached_property
    def lies(self) -> bool:
        """Whether all members lie somewhere as they are, and a loop can add them."""
        if not self.reducer.loop:
            return False
        return all(one is not None and one.places is not None for one in self.leaves)

    @cached_property
    def divisible(self) -> bool:
        """Whether threads may work at it side by side."""
        return all(one is not None for one in self.leaves)

    def refused(self, place: int, tensor: int) -> BoundsError:
        """What is said of a member whose values are not finite."""
        found = self.leaves[place]
        source = self.members[place].contribution if found is None else found.source
        said = getattr(source, "where", self.members[place].name)
        name = self.layout.names[tensor]
        return BoundsError(f"{said} holds a value that is not finite", tensor=name)


def chunk_of(chunks: Sequence[range], index: int) -> int:
    """The place of the chunk that a span is in."""
    return bisect.bisect_right(chunks, index, key=lambda chunk: chunk.start) - 1

"""Low-rank replies seen as what they mean: s B A, and the rest as it is."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ..protocols.errors import BoundsError, PayloadError
from ..protocols.vectors import Block, Contribution, Floats, Layout, Pair, Span
from .scales import spans_of
from .sources import release
from .tallies import Stack

Reals = npt.NDArray[np.float64]


def tensor(contribution: Contribution, name: str) -> Floats:
    """One tensor of a contribution, read whole, float32."""
    layout = contribution.layout
    place = layout.place(name)
    out = np.zeros(layout.sizes[place], np.float32)
    for span in spans_of(layout, place):
        part = contribution.block(span).dense()
        out[span.start : span.start + span.size] = part
    return out.reshape(layout.shapes[place])


def stacks(
    contribution: Contribution, pairs: Sequence[Pair], start: Mapping[str, Floats]
) -> dict[str, Stack]:
    """By weight, a reply's factors: B as it came, A with its start added.

    An A that did not travel is its start.

    Raises:
        PayloadError: a pair's factors do not fit each other.
        BoundsError: a factor is not finite.
    """
    held = {}
    for pair in pairs:
        b, begun = tensor(contribution, pair.b), start.get(pair.a)
        if begun is not None and pair.a not in contribution.layout.names:
            a, begun = begun, None
        else:
            a = tensor(contribution, pair.a)
        if begun is not None and begun.shape != a.shape:
            reason = f"starts as {begun.shape}, changed by {a.shape}"
            raise PayloadError(reason, tensor=pair.a)
        with np.errstate(over="ignore"):  # told below
            a = a if begun is None else begun + a
        if b.ndim != 2 or a.ndim != 2 or b.shape[1] != a.shape[0]:  # noqa: PLR2004
            reason = f"{b.shape} times {a.shape} is no product"
            raise PayloadError(reason, tensor=pair.weight)
        for name, factor in ((pair.b, b), (pair.a, a)):
            if not np.isfinite(factor).all():
                raise BoundsError("not finite", tensor=name)
        held[pair.weight] = Stack(b, a, pair.scaling)
    release(contribution)
    return held


def length(held: Mapping[str, Stack]) -> float:
    """L2 norm of all products together, without forming them."""
    total = 0.0
    for one in held.values():
        b, a = one.b.astype(np.float64), one.a.astype(np.float64)
        total += one.scaling**2 * float(np.sum((b.T @ b) * (a @ a.T)))
    return math.sqrt(max(total, 0.0))


class Read(Mapping[str, Floats]):
    """A contribution's tensors by name, each decoded when asked for, and not kept.

    So what is held of a model's worth of changes is what was received of it.

    Example:
        >>> from fedelta.protocols.vectors import TaskVector
        >>> Read(TaskVector.of({"w": np.float32([1, 2])}))["w"].tolist()
        [1.0, 2.0]
    """

    def __init__(self, source: Contribution) -> None:
        self._source = source

    def __getitem__(self, name: str) -> Floats:
        if name not in self._source.layout.names:
            raise KeyError(name)
        return tensor(self._source, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._source.layout.names)

    def __len__(self) -> int:
        return len(self._source.layout.names)


class Subset:
    """Some tensors of a contribution."""

    def __init__(self, source: Contribution, names: Sequence[str]) -> None:
        given = source.layout
        self.source = source
        self.layout = Layout.of({n: given.shapes[given.place(n)] for n in names})
        self._spans = matched(given, self.layout)

    def block(self, span: Span) -> Block:
        """One span, as the source has it."""
        return self.source.block(self._spans[span.index])


class Products:
    """A reply in the space of products, computed by blocks of rows.

    Args:
        source: the reply.
        held: its factors by weight, as `stacks` gives them.
        shapes: of the weights that any reply changes; one that this reply leaves
            alone is zero.
        dense: names of the tensors that travel whole.
    """

    def __init__(
        self,
        source: Contribution,
        held: Mapping[str, Stack],
        shapes: Mapping[str, tuple[int, ...]],
        dense: Sequence[str],
    ) -> None:
        given = source.layout
        whole = {name: given.shapes[given.place(name)] for name in dense}
        self.source = source
        self.layout = Layout.of({**shapes, **whole})
        self._spans = matched(given, self.layout)
        self._factors: dict[int, tuple[Reals, Reals]] = {
            self.layout.place(weight): (
                one.scaling * one.b.astype(np.float64),
                one.a.astype(np.float64),
            )
            for weight, one in held.items()
        }

    def block(self, span: Span) -> Block:
        """One span: rows of ``s B A``, float64 inside, float32 out."""
        pair = self._factors.get(span.tensor)
        if pair is None:
            theirs = self._spans.get(span.index)
            if theirs is None:
                return Block(span.size, None, np.zeros(span.size, np.float32))
            return self.source.block(theirs)
        b, a = pair
        width = a.shape[1]
        first, last = span.start // width, -(-(span.start + span.size) // width)
        rows = (b[first:last] @ a).astype(np.float32).reshape(-1)
        offset = span.start - first * width
        return Block(span.size, None, rows[offset : offset + span.size])


def matched(source: Layout, target: Layout) -> dict[int, Span]:
    """By index of a target's span, the source's span of the same coordinates."""
    theirs = {(source.names[s.tensor], s.start): s for s in source.spans}
    found = {}
    for span in target.spans:
        one = theirs.get((target.names[span.tensor], span.start))
        if one is not None:
            found[span.index] = one
    return found

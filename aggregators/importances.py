"""Merging by importance: what a client is sure of weighs more, element by element.

Importances travel as further tensors of the contribution, named like the tensor that
they are about with ``|fisher`` behind it, and are summed like any other.
"""

from dataclasses import dataclass

import numpy as np

from ..protocols.errors import BoundsError, ConfigError, PayloadError
from ..protocols.vectors import Block, Contribution, Floats, Layout, Span
from .base import FORMED, SPACES, Key, Recipe, Transform
from .classics import gained
from .furthers import FISHER, Attached
from .products import matched
from .rewrites import written
from .sums import weighted_mean

SUFFIX = FISHER


class Joined(Attached):
    """A contribution with its importances as further tensors.

    Args:
        change: the task vector.
        importances: F, of the same layout.

    Raises:
        PayloadError: the layouts differ.
    """

    def __init__(self, change: Contribution, importances: Contribution) -> None:
        if change.layout != importances.layout:
            raise PayloadError("the importances do not have the change's tensors")
        super().__init__(change, importances, SUFFIX)


class _Weighed:
    """``F x`` in the place of x, and F not below a floor."""

    def __init__(self, source: Contribution, floor: float, name: str) -> None:
        self.layout = source.layout
        self._source, self._floor, self._name = source, floor, name
        names = source.layout.names
        partners = _partners(source.layout)
        spans = {(s.tensor, s.start): s for s in source.layout.spans}
        self._other = {
            span.index: spans[partners[names[span.tensor]], span.start]
            for span in source.layout.spans
            if names[span.tensor] in partners
        }

    def block(self, span: Span) -> Block:
        given = self._source.block(span).dense()
        other = self._other.get(span.index)
        if other is None:
            return Block(span.size, None, self._floored(given, span))
        weight = self._floored(self._source.block(other).dense(), other)
        return Block(span.size, None, weight * given)

    def _floored(self, values: Floats, span: Span) -> Floats:
        if values.size and float(values.min()) < 0:
            where = self.layout.names[span.tensor]
            raise BoundsError(f"{self._name}: a negative importance", tensor=where)
        return np.maximum(values, np.float32(self._floor))


def _partners(layout: Layout) -> dict[str, int]:
    """By tensor, the place of its importances.

    Raises:
        PayloadError: a tensor without, or importances of none, or of another shape.
    """
    names = set(layout.names)
    found = {}
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        bare = name.removesuffix(SUFFIX)
        if bare not in names or bare + SUFFIX not in names:
            raise PayloadError(f"fisher needs both {bare} and {bare}{SUFFIX}")
        place = layout.place(bare + SUFFIX)
        if layout.shapes[place] != shape:
            raise PayloadError("has importances of another shape", tensor=bare)
        if bare == name:
            found[name] = place
    return found


@dataclass(frozen=True)
class _Quotient:
    """Sums of F x by sums of F."""

    source: Contribution
    layout: Layout
    spans: dict[int, Span]
    over: dict[int, Span]
    gain: float

    def block(self, span: Span) -> Block:
        above = self.source.block(self.spans[span.index]).dense().astype(np.float64)
        below = self.source.block(self.over[span.index]).dense()
        moved = below > 0
        values = np.divide(above, below, out=np.zeros_like(above), where=moved)
        return Block(span.size, None, (values * self.gain).astype(np.float32))


def _divided(gain: float) -> Transform:
    def apply(contribution: Contribution, key: Key) -> Contribution:  # noqa: ARG001
        given = contribution.layout
        partners = _partners(given)
        layout = Layout.of({n: given.shapes[given.place(n)] for n in partners})
        spans = {(s.tensor, s.start): s for s in given.spans}
        over = {
            span.index: spans[partners[layout.names[span.tensor]], span.start]
            for span in layout.spans
        }
        return _Quotient(contribution, layout, matched(given, layout), over, gain)

    return Transform("divided()", apply)


def fisher(floor: float = 1e-6, gain: float = 1.0) -> Recipe:
    r"""Mean by diagonal Fisher information, a further sum of the same state.

    .. math:: u = \lambda \frac{\sum_k w_k \max(F_k, \epsilon)\, x_k}
                               {\sum_k w_k \max(F_k, \epsilon)}

    F_k is the mean squared gradient of the log-likelihood on the client's own data, on
    a scale that all clients share (do not normalise it by client). It is sent as the
    tensors ``NAME|fisher``; the update has only the others. Where nobody is sure of
    anything (all F below the floor) this is the weighted mean. A sum holds 40 bits
    below its tensor's largest F, so an F below 2^-40 of it counts as 0. Not in
    products: importance is an element's, and products have none.

    Cost: one pass, O(K n); two tensors a tensor, on the wire and in the state.

    Source: Matena and Raffel, `Merging Models with Fisher-Weighted Averaging
    <https://arxiv.org/abs/2111.09832>`_, 2022, equation 2.

    Raises:
        ConfigError: a floor that is not above 0.
    """
    if not 0 < floor < float("inf"):
        raise ConfigError(f"fisher: floor is {floor}, allowed: above 0")

    def weigh(contribution: Contribution, key: Key) -> Contribution:
        return _Weighed(contribution, floor, key.client or "a contribution")

    return Recipe(
        written("fisher", floor=floor, gain=gain),
        (Transform("weighed()", weigh),),
        weighted_mean(),
        after=(_divided(gained(gain)),),
        spaces=tuple(one for one in SPACES if one not in FORMED),
    )

"""What a merge that is no sum is built of: all members at once.

Three forms cover them. *Rows*: a rule by element over the members' values, span by
span. *Tensors*: a rule over the members' whole tensors. *Mixtures*: weighted sums whose
weights follow from norms and inner products alone, which one statistics pass gathers
in a Gram matrix. All are correct in a tree, but everything that was sent travels, and
nothing of it works under masks. What a member left out counts as 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..protocols.vectors import Block, Contribution, Floats, Layout, Span
from .base import Key, Member, Planes, Reducer
from .products import tensor

Reals = npt.NDArray[np.float64]
Rule = Callable[[Reals, Reals], Reals]  # values [K, ...], shares [K] -> [...]
Weigher = Callable[[Reals, Reals, Key], Reals]  # Gram [K, K], shares -> [M, K]

SCOPES = ("tensor", "vector")


def shares(members: Sequence[Member]) -> Reals:
    """[K] what the members count for."""
    return np.array([one.share for one in members], np.float64)


def rows(members: Sequence[Member], span: Span) -> Reals:
    """[K, n] one span of every member."""
    return np.array([one.contribution.block(span).dense() for one in members], float)


@dataclass(frozen=True)
class Rows:
    """A rule by element, over the members' values in a span."""

    members: Sequence[Member]
    rule: Rule

    @property
    def layout(self) -> Layout:
        """The members'."""
        return self.members[0].contribution.layout

    def block(self, span: Span) -> Block:
        """One span, merged."""
        out = self.rule(rows(self.members, span), shares(self.members))
        return Block(span.size, None, out.astype(np.float32))


class Tensors:
    """A rule over whole tensors; the last one made is kept.

    Cost: K tensors in float64.
    """

    def __init__(
        self, members: Sequence[Member], rule: Callable[[str, Reals, Reals], Reals]
    ) -> None:
        self.members, self._rule = members, rule
        self.layout: Layout = members[0].contribution.layout
        self._held: tuple[int, Floats] = (-1, np.zeros(0, np.float32))

    def block(self, span: Span) -> Block:
        """One span of its tensor."""
        place, values = self._held
        if place != span.tensor:
            name = self.layout.names[span.tensor]
            given = [tensor(one.contribution, name) for one in self.members]
            made = self._rule(name, np.array(given, float), shares(self.members))
            values = made.astype(np.float32).reshape(-1)
            self._held = span.tensor, values
        return Block(span.size, None, values[span.start : span.start + span.size])


@dataclass(frozen=True)
class Vector:
    """A merged vector in memory, [N]."""

    layout: Layout
    values: Floats

    def block(self, span: Span) -> Block:
        """One span: a view."""
        return Block(span.size, None, self.values[span.flat : span.flat + span.size])


@dataclass(frozen=True)
class Mixture:
    """A weighted sum of members, with weights by tensor.

    Attributes:
        members: K of them.
        weights: [T, K].
    """

    members: Sequence[Member]
    weights: Reals

    @property
    def layout(self) -> Layout:
        """The members'."""
        return self.members[0].contribution.layout

    def block(self, span: Span) -> Block:
        """One span, summed in float64 in member order."""
        out = np.zeros(span.size, np.float64)
        for weight, one in zip(self.weights[span.tensor], self.members, strict=True):
            if weight:
                out += weight * one.contribution.block(span).dense()
        return Block(span.size, None, out.astype(np.float32))


def grams(members: Sequence[Member]) -> Reals:
    """[T, K, K] inner products of the members, by tensor: the statistics pass.

    Cost: one read, K^2 / 2 products a coordinate.

    Example:
        >>> from fedelta.protocols.vectors import TaskVector
        >>> a = Member("a", TaskVector.of({"w": np.float32([1, 2])}))
        >>> b = Member("b", TaskVector.of({"w": np.float32([3, 0])}))
        >>> grams([a, b]).tolist()
        [[[5.0, 3.0], [3.0, 9.0]]]
    """
    layout = members[0].contribution.layout
    count = len(members)
    total = np.zeros((len(layout.names), count, count))
    for span in layout.spans:
        values = rows(members, span)
        for i in range(count):
            for j in range(i, count):
                total[span.tensor, i, j] += float(np.sum(values[i] * values[j]))
    lower = np.transpose(np.triu(total, 1), (0, 2, 1))
    return total + lower


def by_rows(text: str, rule: Rule, *, adds: bool = False) -> Reducer:
    """A reducer by element."""

    def merge(members: Sequence[Member], key: Key) -> Contribution:  # noqa: ARG001
        return Rows(members, rule)

    return gathered(text, merge, adds=adds)


def by_tensors(text: str, rule: Callable[[str, Reals, Reals], Reals]) -> Reducer:
    """A reducer by whole tensor."""

    def merge(members: Sequence[Member], key: Key) -> Contribution:  # noqa: ARG001
        return Tensors(members, rule)

    return gathered(text, merge)


def by_vectors(text: str, rule: Callable[[str, Reals, Reals], Reals]) -> Reducer:
    """A reducer by the whole vector [K, N], read at once; its name is empty.

    Cost: all members in float64.
    """

    def merge(members: Sequence[Member], key: Key) -> Contribution:  # noqa: ARG001
        layout = members[0].contribution.layout
        whole = np.zeros((len(members), layout.size))
        for span in layout.spans:
            whole[:, span.flat : span.flat + span.size] = rows(members, span)
        return Vector(layout, rule("", whole, shares(members)).astype(np.float32))

    return gathered(text, merge)


def by_grams(text: str, weigh: Weigher, scope: str = "vector") -> Reducer:
    """A reducer that is one weighted sum, its weights from the Gram matrix.

    Args:
        text: how it is called.
        weigh: from Gram matrix, shares and key to weights [1, K].
        scope: one Gram matrix for the whole "vector", or one a "tensor".
    """

    def merge(members: Sequence[Member], key: Key) -> Contribution:
        found = grams(members)
        if scope == "vector":
            found = np.repeat(found.sum(0, keepdims=True), len(found), axis=0)
        given = shares(members)
        weights = [weigh(one, given, key)[0] for one in found]
        return Mixture(members, np.array(weights).reshape(len(found), len(members)))

    return gathered(text, merge)


def gathered(
    text: str,
    merge: Callable[[Sequence[Member], Key], Contribution],
    *,
    adds: bool = False,
) -> Reducer:
    """A reducer whose state is the members themselves."""
    return Reducer(
        text,
        adds=adds,
        linear=False,
        planes=_none,
        fold=_nothing,
        finish=_nothing,
        cohort=merge,
    )


def _none(total: int) -> tuple[int, npt.DTypeLike]:  # noqa: ARG001
    return 0, np.int64


def _nothing(sums: Planes, *rest: Any) -> None:
    """A cohort has no planes."""

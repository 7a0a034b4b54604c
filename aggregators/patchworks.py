"""Contributions taken apart by tensor, and put together from others' tensors."""

from collections.abc import Sequence

from ..protocols.vectors import Block, Contribution, Layout, Span
from .base import Key, Transform
from .scales import spans_of


class Patchwork:
    """A contribution whose tensors come from different ones, each of one tensor."""

    def __init__(self, layout: Layout, parts: Sequence[Contribution]) -> None:
        self.layout = layout
        self._parts = parts

    def block(self, span: Span) -> Block:
        """One span of its tensor's."""
        part = self._parts[span.tensor]
        first = spans_of(self.layout, span.tensor)[0].index
        return part.block(part.layout.spans[span.index - first])


class Alone:
    """One tensor of a contribution."""

    def __init__(self, source: Contribution, place: int) -> None:
        given = source.layout
        self.source = source
        self.layout = Layout((given.names[place],), (given.shapes[place],))
        self._spans = spans_of(given, place)

    def block(self, span: Span) -> Block:
        """One span, as the source has it."""
        return self.source.block(self._spans[span.index])


def patched(
    contribution: Contribution, chosen: Sequence[Transform], key: Key
) -> Contribution:
    """Each tensor under its own transform."""
    parts = [
        one.apply(Alone(contribution, place), key) for place, one in enumerate(chosen)
    ]
    return Patchwork(contribution.layout, parts)

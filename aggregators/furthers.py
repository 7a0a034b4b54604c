"""Further tensors of a contribution: what a recipe needs beside the changes.

They are named like the tensor that they are about with a suffix, travel in the same
payload and are summed like any other. The update has none of them, but for control
variates, which go down as they came up.
"""

from collections.abc import Mapping

from ..protocols.vectors import Block, Contribution, Layout, Span
from .base import Recipe

FISHER, GRAM, CONTROL = "|fisher", "|gram", "|control"
"""Diagonal Fisher information, of the tensor's shape; X^T X of a layer's inputs; what
a SCAFFOLD client's control variate changed by, of the tensor's shape."""

_WANTED = {"weighed()": FISHER, "regressed()": GRAM}


def wanted(recipe: Recipe) -> str:
    """Which further tensors a recipe needs of its clients; empty: none.

    Example:
        >>> from fedelta.aggregators.recipes import recipe
        >>> wanted(recipe("clip(1.0) | fisher")), wanted(recipe("fedavg"))
        ('|fisher', '')
    """
    for part in (recipe, recipe.outer):
        for one in part.before if part is not None else ():
            head = one.text.partition("(")[0] + "()"
            if head in _WANTED:
                return _WANTED[head]
    return ""


def is_further(name: str) -> bool:
    """Whether a tensor is no change.

    Example:
        >>> is_further("q.weight"), is_further("q.weight|fisher")
        (False, True)
    """
    return name.endswith((FISHER, GRAM, CONTROL))


class Attached:
    """A contribution with further tensors beside it.

    Args:
        change: the task vector.
        further: by the name of the tensor that it is about, the further ones.
        suffix: which ones they are.
    """

    def __init__(
        self, change: Contribution, further: Contribution, suffix: str
    ) -> None:
        shapes = dict(zip(change.layout.names, change.layout.shapes, strict=True))
        more: Mapping[str, tuple[int, ...]] = dict(
            zip(further.layout.names, further.layout.shapes, strict=True)
        )
        named = {name + suffix: shape for name, shape in more.items()}
        self.layout = Layout.of(shapes | named)
        self._change, self._further, self._suffix = change, further, suffix
        self._spans = [
            {(one.layout.names[s.tensor], s.start): s for s in one.layout.spans}
            for one in (change, further)
        ]

    def block(self, span: Span) -> Block:
        """One span of the change, or of a further tensor."""
        name = self.layout.names[span.tensor]
        second = name.endswith(self._suffix)
        source = self._further if second else self._change
        bare = name.removesuffix(self._suffix) if second else name
        return source.block(self._spans[second][bare, span.start])

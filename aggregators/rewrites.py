"""Transforms that need a tensor whole: it is rewritten when its first span is read."""

from collections.abc import Callable

import numpy as np

from ..protocols.errors import BoundsError
from ..protocols.vectors import Block, Contribution, Floats, Layout, Span
from .base import Key, Transform
from .products import tensor

Rewrite = Callable[[str, Floats, Key], Floats]


class Rewritten:
    """A contribution whose tensors are rewritten one at a time.

    The last one is kept, so reading in span order makes each once a pass and takes the
    memory of the largest.

    Args:
        source: what is rewritten.
        make: ``(name, value, key)``: the new tensor, of the same shape.
        key: with the client's name.
    """

    def __init__(self, source: Contribution, make: Rewrite, key: Key) -> None:
        self.source = source
        self.layout: Layout = source.layout
        self._make, self._key = make, key
        self._held: tuple[int, Floats] = (-1, np.zeros(0, np.float32))

    def block(self, span: Span) -> Block:
        """One span of its tensor.

        Raises:
            BoundsError: a value of it is not finite, whether it would stay or not.
        """
        place, values = self._held
        if place != span.tensor:
            name = self.layout.names[span.tensor]
            given = tensor(self.source, name)
            if not np.isfinite(given).all():
                said = getattr(self.source, "where", self._key.client)
                said = f"{said or 'a contribution'} holds a value that is not finite"
                raise BoundsError(said, tensor=name)
            value = self._make(name, given, self._key)
            values = np.ascontiguousarray(value, np.float32).reshape(-1)
            self._held = span.tensor, values
        return Block(span.size, None, values[span.start : span.start + span.size])


def rewriting(text: str, make: Rewrite) -> Transform:
    """A transform of whole tensors.

    Example:
        >>> from fedelta.protocols.vectors import TaskVector
        >>> double = rewriting("double()", lambda name, value, key: 2 * value)
        >>> vector = TaskVector.of({"w": np.float32([1, -3])})
        >>> double.apply(vector, Key()).block(vector.layout.spans[0]).values
        array([ 2., -6.], dtype=float32)
    """

    def apply(contribution: Contribution, key: Key) -> Contribution:
        return Rewritten(contribution, make, key)

    return Transform(text, apply)


def written(name: str, **knobs: object) -> str:
    """A recipe's or transform's canonical text.

    Example:
        >>> written("ties", density=0.2, election="mass")
        "ties(density=0.2, election='mass')"
    """
    return f"{name}({', '.join(f'{knob}={value!r}' for knob, value in knobs.items())})"

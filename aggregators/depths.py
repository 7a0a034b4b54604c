"""How deep a tensor lies, by its name, and what is scaled by it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..protocols.errors import ConfigError
from ..protocols.vectors import Block, Contribution, Floats, Layout, Span
from .base import Key, Transform
from .rewrites import written
from .scales import peaks

_NUMBER = re.compile(r"^(.*?(?:^|\.)(?:layers?|blocks?|h))\.(\d+)(?:\.|$)")
_FIRST = ("embed", "wte", "wpe", "patch", "cls_token")


def fractions(names: Sequence[str]) -> list[float]:
    """By tensor how deep it lies: 0 for the first layer, 1 for the last.

    Layers are numbered within their stack (``encoder.layer.3``, ``model.layers.3``,
    ``h.3``, ``blocks.3``); a stack of one layer lies at 0. What has no number lies at
    0 where its name says that it embeds, else at 1 (heads, poolers, last norms).

    Example:
        >>> fractions(["embed.w", "layers.0.w", "layers.1.w", "layers.2.w", "head.w"])
        [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    first = [any(part in name for part in _FIRST) for name in names]
    return [
        depth if depth is not None else 0.0 if embeds else 1.0
        for depth, embeds in zip(numbered(names), first, strict=True)
    ]


def numbered(names: Sequence[str]) -> list[float | None]:
    """By tensor the depth of its layer, 0 to 1; None where it has no number.

    Example:
        >>> numbered(["embed.w", "h.0.w", "h.1.w"])
        [None, 0.0, 1.0]
    """
    found = [_NUMBER.match(name) for name in names]
    last: dict[str, int] = {}
    for one in found:
        if one is not None:
            last[one[1]] = max(last.get(one[1], 0), int(one[2]))
    return [
        None if one is None else int(one[2]) / max(last[one[1]], 1) for one in found
    ]


@dataclass(frozen=True)
class Graded:
    """Every tensor times a number of its own.

    Attributes:
        source: what is scaled.
        gains: [T].
        peaks: [T] largest magnitude by tensor.
    """

    source: Contribution
    gains: Floats
    peaks: Floats

    @property
    def layout(self) -> Layout:
        """The source's."""
        return self.source.layout

    def block(self, span: Span) -> Block:
        """One span, scaled."""
        given = self.source.block(span)
        values = given.values * self.gains[span.tensor]
        return Block(given.size, given.positions, values)


def lines(alpha: float = 0.5, beta: float = 0.5) -> Transform:
    r"""Scale by depth: the first layers stay nearer to the base than the last.

    .. math:: y_l = \Big(\alpha + \beta \frac{l}{L - 1}\Big) x_l

    with l = 0 ... L - 1 read off the names (see `fractions`). Before a recipe it acts
    on each contribution, after it on the merge; in a linear recipe that is the same.

    Cost: O(n), and one read for peaks where a reply does not state them.

    Source: Wang et al., `LiNeS: Post-training Layer Scaling
    <https://arxiv.org/abs/2410.17146>`_, 2025, section 4.

    Raises:
        ConfigError: a number that is not finite.
    """
    if not (math.isfinite(alpha) and math.isfinite(beta)):
        raise ConfigError(f"lines: alpha {alpha}, beta {beta}, allowed: finite numbers")

    def apply(contribution: Contribution, key: Key) -> Contribution:
        depth = np.array(fractions(contribution.layout.names), float)
        gains = (alpha + beta * depth).astype(np.float32)
        top = peaks(contribution, key.client or "the merge") * np.abs(gains)
        return Graded(contribution, gains, top)

    return Transform(written("lines", alpha=alpha, beta=beta), apply)

"""Contributions that compute their spans from another one's when they are asked."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..protocols import masks, seeds
from ..protocols.errors import BoundsError
from ..protocols.vectors import Block, Contribution, Floats, Layout, Span
from . import kernels
from .base import Key


@dataclass(frozen=True)
class Scaled:
    """Every value times one number.

    Attributes:
        source: what is scaled.
        gain: the number.
        peaks: [T] largest magnitude by tensor, where the source knows it.
    """

    source: Contribution
    gain: float
    peaks: Floats | None

    @property
    def layout(self) -> Layout:
        """The source's."""
        return self.source.layout

    def block(self, span: Span) -> Block:
        """One span, scaled."""
        given = self.source.block(span)
        with np.errstate(over="ignore"):  # infinite values are refused where they go
            values = given.values * np.float32(self.gain)
        return Block(given.size, given.positions, values)


@dataclass(frozen=True)
class Cut:
    """What is kept of one tensor when it is trimmed.

    Attributes:
        threshold: least magnitude kept, as float32 bits.
        ties: how many equal to the threshold are kept, first come first kept; -1: all.
    """

    threshold: int
    ties: int = -1


@dataclass(frozen=True)
class Trimmed:
    """The largest values of each tensor, zeros elsewhere.

    Attributes:
        source: what is trimmed.
        cuts: by tensor.
        used: by span index, how many ties its tensor's earlier spans hold, for the
            tensors where ties are cut.
    """

    source: Contribution
    cuts: tuple[Cut, ...]
    used: dict[int, int]

    @property
    def layout(self) -> Layout:
        """The source's."""
        return self.source.layout

    def block(self, span: Span) -> Block:
        """One span, trimmed."""
        given = self.source.block(span)
        cut = self.cuts[span.tensor]
        out = np.empty_like(given.values)
        if cut.ties < 0:
            kernels.above(given.values, np.uint32(cut.threshold), out)
        else:
            left = max(0, cut.ties - self.used[span.index])
            kernels.trim(given.values, np.uint32(cut.threshold), left, out)
        return Block(given.size, given.positions, out)


@dataclass(frozen=True)
class Dropped:
    """A keyed random part of the values, rescaled so that the expectation stays.

    Attributes:
        source: what is dropped from.
        density: the share that is kept.
        rescale: what the kept values are multiplied by.
        key: with the client's name.
    """

    source: Contribution
    density: float
    rescale: float
    key: Key

    @property
    def layout(self) -> Layout:
        """The source's."""
        return self.source.layout

    @cached_property
    def _seeds(self) -> list[int]:
        return [self.key.seed("drop", name) for name in self.layout.names]

    def block(self, span: Span) -> Block:
        """One span: what its mask keeps."""
        given = self.source.block(span)
        seed = self._seeds[span.tensor]
        if given.positions is None:
            return self._dropped(given.values, span, seed)
        mask = seeds.keep(seed, span.start, span.size, self.density)[given.positions]
        values = given.values[mask] * np.float32(self.rescale)
        return Block(given.size, given.positions[mask], values)

    def _dropped(self, values: Floats, span: Span, seed: int) -> Block:
        key, every = np.uint64(seed), seeds.strata(self.density)
        start, size = span.start, span.size
        count = masks.count_kept(key, start, size, every, self.density)
        places = np.empty(count, np.uint16)
        masks.draw_kept(key, start, size, every, self.density, places)
        kept, gain = np.empty(count, np.float32), np.float32(self.rescale)
        given = np.ascontiguousarray(values, np.float32)
        if kernels.gather(given, places, gain, kept) >= kernels.INFINITE:
            name = getattr(self.source, "where", self.key.client or "a contribution")
            where = self.layout.names[span.tensor]
            raise BoundsError(f"{name} holds a value that is not finite", tensor=where)
        return Block(size, places, kept)

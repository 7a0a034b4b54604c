"""Masks that both sides draw: the loops of `seeds.kept`, compiled.

Nothing of a mask travels but what it is drawn from.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from . import seeds
from .headers import Header
from .kernels import compiled
from .vectors import Layout, Positions, Span

_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


@compiled
def begun(key: np.uint64, i: int) -> np.uint64:
    """What word i under a key is mixed from; the next one's is `seeds.GAMMA` more."""
    return key + np.uint64(i + 1) * seeds.GAMMA


@compiled
def mixed(z: np.uint64) -> np.uint64:
    """The word that is mixed from a number."""
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


@compiled
def word(key: np.uint64, i: int) -> np.uint64:
    """Word i under a key, as `seeds.words` has it."""
    return mixed(begun(key, i))


@compiled
def share(key: np.uint64, i: int) -> float:
    """Word i under a key as a number in [0, 1)."""
    return np.float64(word(key, i) >> np.uint64(11)) * 2.0**-53


@compiled
def count_kept(
    key: np.uint64, start: int, size: int, every: int, density: float
) -> int:
    """How many of a run are kept: `every` is the stratum's size, or 0."""
    if every == 0:
        counted: Any = 0
        for i in range(start, start + size):
            counted += np.int64(share(key, i) < density)
        return int(counted)
    first = start // every
    last = (start + size - 1) // every
    found = last - first + 1
    place = first * every + np.int64(word(key, first) % np.uint64(every))
    if place < start or place >= start + size:
        found -= 1
    if last > first:
        place = last * every + np.int64(word(key, last) % np.uint64(every))
        if place >= start + size:
            found -= 1
    return found


@compiled
def draw_kept(
    key: np.uint64,
    start: int,
    size: int,
    every: int,
    density: float,
    out: npt.NDArray[np.uint16],
) -> None:
    """The places of what is kept of a run, counted from its start."""
    found = 0
    if every == 0:
        for i in range(start, start + size):
            if share(key, i) < density:
                out[found] = i - start
                found += 1
        return
    for row in range(start // every, (start + size - 1) // every + 1):
        place = row * every + np.int64(word(key, row) % np.uint64(every)) - start
        if 0 <= place < size:
            out[found] = place
            found += 1


def mask_key(header: Header, layout: Layout, tensor: int, *, shared: bool) -> int:
    """The key that a tensor's mask is drawn under: one a client, or one for all."""
    who = () if shared else (header.client,)
    what = "shared" if shared else "mask"
    name = layout.names[tensor]
    return seeds.key(what, header.seed, header.run, header.round, *who, name)


def mask_keys(header: Header, layout: Layout, *, shared: bool) -> list[int]:
    """`mask_key` of every tensor, in a fraction of the time."""
    who = () if shared else (header.client,)
    what = "shared" if shared else "mask"
    return seeds.keys((what, header.seed, header.run, header.round, *who), layout.names)


def rounding_key(header: Header, name: str) -> int:
    """The key that a tensor's values are rounded under."""
    return seeds.key(
        "round", header.seed, header.run, header.round, header.client, name
    )


def counted(key: int, span: Span, density: float) -> int:
    """How many of a span's coordinates a mask keeps."""
    every = seeds.strata(density)
    return count_kept(np.uint64(key), span.start, span.size, every, density)


def drawn(key: int, span: Span, density: float, out: Positions) -> None:
    """The places of a span that a mask keeps, as many as `counted` says."""
    every = seeds.strata(density)
    draw_kept(np.uint64(key), span.start, span.size, every, density, out)

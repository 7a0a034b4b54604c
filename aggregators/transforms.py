"""What is done to one contribution before it is merged."""

import math

import numpy as np
import numpy.typing as npt

from ..protocols import positions
from ..protocols.errors import BoundsError, ConfigError
from ..protocols.payloads import Payload
from ..protocols.vectors import Contribution
from . import kernels
from .base import Key, Transform
from .scales import known, spans_of
from .views import Cut, Dropped, Scaled, Trimmed

Bits = npt.NDArray[np.uint32]

_FINITE = np.uint32(0x7FFFFFFF)


def fraction(density: float, what: str) -> float:
    """Hold a kept share to (0, 1].

    Raises:
        ConfigError: outside.
    """
    if not 0 < density <= 1:
        raise ConfigError(f"{what}: density is {density}, allowed: above 0, at most 1")
    return density


def scale(gain: float) -> Transform:
    """Multiply by one number."""
    if not math.isfinite(gain):
        raise ConfigError(f"scale: gain is {gain}, allowed: a finite number")

    def apply(contribution: Contribution, key: Key) -> Contribution:
        return scaled(contribution, gain, key.client)

    return Transform(f"scale({gain!r})", apply, lambda _: gain)


def clip(norm: float) -> Transform:
    """Scale down to an L2 norm over all tensors, where it is larger.

    Raises:
        ConfigError: the norm is not above 0.
    """
    if not (math.isfinite(norm) and norm > 0):
        raise ConfigError(f"clip: norm is {norm}, allowed: a finite number above 0")

    def factor(length: float) -> float:
        return norm / length if length > norm else 1.0

    def apply(contribution: Contribution, key: Key) -> Contribution:
        return scaled(contribution, factor(length(contribution)), key.client)

    return Transform(f"clip({norm!r})", apply, factor)


def trim(density: float) -> Transform:
    """Keep the largest magnitudes of each tensor.

    Of a tensor of n elements exactly ``min(ceil(density n), nonzeros)`` are kept (the
    product in double precision); of equal magnitudes those that come first.

    Source: Yadav et al., `TIES-Merging <https://arxiv.org/abs/2306.01708>`_, 2023,
    algorithm 1, step 1.

    Example:
        >>> from fedelta.protocols.vectors import TaskVector
        >>> vector = TaskVector.of({"w": np.float32([1, -3, 0, 3, 2])})
        >>> kept = trim(0.3).apply(vector, Key())
        >>> kept.block(vector.layout.spans[0]).values.tolist()
        [0.0, -3.0, 0.0, 3.0, 0.0]
    """
    kept = fraction(density, "trim")

    def apply(contribution: Contribution, key: Key) -> Contribution:
        return trimmed(contribution, kept, key.client)

    return Transform(f"trim({density!r})", apply)


def drop(density: float, *, rescale: bool = True) -> Transform:
    """Keep a keyed random share of the elements, rescaled by 1 / density.

    Source: Yu et al., `Language Models are Super Mario
    <https://arxiv.org/abs/2311.03099>`_, 2024, section 3 (p there is 1 - density).
    """
    fraction(density, "drop")
    factor = 1 / density if rescale else 1.0

    def apply(contribution: Contribution, key: Key) -> Contribution:
        return Dropped(contribution, density, factor, key)

    more = "" if rescale else ", rescale=False"
    return Transform(f"drop({density!r}{more})", apply)


def length(contribution: Contribution) -> float:
    """L2 norm over all tensors, summed in float64 in span order."""
    known = getattr(contribution, "norm", None)
    if known is not None:
        return float(known)
    total = 0.0
    for span in contribution.layout.spans:
        values = contribution.block(span).values.astype(np.float64)
        total += float(np.sum(values * values))
    return math.sqrt(total)


def scaled(contribution: Contribution, gain: float, name: str = "") -> Contribution:
    """A contribution times a number; itself where the number is 1."""
    if gain == 1:
        return contribution
    top = known(contribution)
    if top is None:
        return Scaled(contribution, gain, None)
    with np.errstate(over="ignore"):
        top = top * np.float32(abs(gain))
    over = np.flatnonzero(~np.isfinite(top))
    if over.size:
        where = contribution.layout.names[int(over[0])]
        said = f"{name or 'a contribution'}: too large to be scaled in float32"
        raise BoundsError(said, tensor=where)
    return Scaled(contribution, gain, top)


def trimmed(contribution: Contribution, density: float, name: str = "") -> Contribution:
    """A contribution's largest magnitudes, by tensor; itself where all are kept.

    Cost: one read, one partition in place, the largest tensor in memory.

    Raises:
        BoundsError: a value is not finite.
    """
    layout = contribution.layout
    counts = contribution.counts if isinstance(contribution, Payload) else None
    widest = max(layout.sizes, default=0) if counts is None else int(counts.max())
    bits = np.empty(widest, np.uint32)
    cuts: list[Cut] = []
    for tensor, size in enumerate(layout.sizes):
        most = math.ceil(density * size)
        if counts is not None and counts[tensor] <= most:
            cuts.append(Cut(1))
            continue
        filled, some, peak = _gather(contribution, tensor, bits)
        if peak >= kernels.INFINITE:
            said = getattr(contribution, "where", name or "a contribution")
            where = layout.names[tensor]
            raise BoundsError(f"{said} holds a value that is not finite", tensor=where)
        cuts.append(Cut(1) if most >= some else _cut(bits[:filled], most))
    if all(cut == Cut(1) for cut in cuts):
        return contribution
    used = _ties_before(contribution, cuts)
    return Trimmed(contribution, tuple(cuts), used)


def _gather(
    contribution: Contribution, tensor: int, bits: Bits
) -> tuple[int, int, int]:
    """A tensor's magnitudes, as float32 bits, into scratch.

    Returns:
        How many there are, how many of them are not zero, and the largest.
    """
    filled = some = peak = 0
    for span in spans_of(contribution.layout, tensor):
        values = np.ascontiguousarray(contribution.block(span).values, np.float32)
        end = filled + values.size
        count, top = positions.magnitudes(values, bits[filled:end])
        filled, some, peak = end, some + count, max(peak, top)
    return filled, some, peak


def _cut(bits: Bits, most: int) -> Cut:
    """Where to cut so that at most so many stay. Reorders the bits."""
    at = bits.size - most
    bits.partition(at)
    threshold = bits[at]
    inside = positions.equals(bits[at:], threshold)
    below = positions.equals(bits[:at], threshold)
    return Cut(int(threshold), inside if below else -1)


def _ties_before(contribution: Contribution, cuts: list[Cut]) -> dict[int, int]:
    """By span, how many values at the threshold its tensor's earlier spans hold."""
    before: dict[int, int] = {}
    for tensor, cut in enumerate(cuts):
        met = 0
        for span in spans_of(contribution.layout, tensor) if cut.ties >= 0 else ():
            before[span.index] = met
            values = np.ascontiguousarray(contribution.block(span).values, np.float32)
            size = np.bitwise_and(values.view(np.uint32), _FINITE)
            met += positions.equals(size, np.uint32(cut.threshold))
    return before

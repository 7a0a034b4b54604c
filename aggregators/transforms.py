"""What is done to one contribution before it is merged."""

import math

import numpy as np

from ..protocols.errors import BoundsError, ConfigError
from ..protocols.payloads import Payload
from ..protocols.vectors import Contribution, TaskVector
from . import kernels, ranks
from .base import Key, Transform
from .scales import known, spans_of
from .views import Cut, Dropped, Scaled, Trimmed


def fraction(density: float, what: str) -> float:
    """Hold a kept share to (0, 1].

    Raises:
        ConfigError: outside.
    """
    if not 0 < density <= 1:
        raise ConfigError(f"{what}: density is {density}, allowed: above 0, at most 1")
    return density


def scale(gain: float) -> Transform:
    """Multiply by one number.

    .. math:: y = g x

    Cost: no pass of its own, O(n); nothing is kept.

    Source: none; a product.
    """
    if not math.isfinite(gain):
        raise ConfigError(f"scale: gain is {gain}, allowed: a finite number")

    def apply(contribution: Contribution, key: Key) -> Contribution:
        return scaled(contribution, gain, key.client)

    return Transform(f"scale({gain!r})", apply, lambda _: gain)


def clip(norm: float) -> Transform:
    r"""Scale down to an L2 norm over all tensors, where it is larger.

    .. math:: y = x \min\Big(1, \frac{c}{\|x\|}\Big)

    Cost: one read for the norm where a reply does not state it, O(n); nothing is kept.

    Source: McMahan et al., `Learning Differentially Private Recurrent Language Models
    <https://arxiv.org/abs/1710.06963>`_, 2018 (flat clipping).

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

    Cost: about two reads for the thresholds, O(n); a sixteenth of the largest tensor.

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
    r"""Keep a keyed random share of the elements, rescaled by 1 / density.

    .. math:: y_j = \frac{m_j x_j}{d}, \quad m_j \sim \mathrm{Bernoulli}(d)

    Cost: no pass of its own, O(n); masks are drawn span by span.

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

    Cost: about two reads (`ranks`), and a sixteenth of the largest tensor.

    Raises:
        BoundsError: a value is not finite.
    """
    if density == 1:
        return contribution
    layout = contribution.layout
    held = contribution.counts if isinstance(contribution, Payload) else layout.sizes
    scratch = np.empty(max(map(ranks.room, held), default=0), np.uint32)
    cuts: list[Cut] = []
    for tensor, size in enumerate(layout.sizes):
        count, most = int(held[tensor]), math.ceil(density * size)
        if isinstance(contribution, Payload) and count <= most:
            cuts.append(Cut(1))
            continue
        found = ranks.ranked(_reader(contribution, tensor), count, most, scratch)
        if found.peak >= kernels.INFINITE:
            said = getattr(contribution, "where", name or "a contribution")
            where = layout.names[tensor]
            raise BoundsError(f"{said} holds a value that is not finite", tensor=where)
        cuts.append(Cut(found.least, found.ties))
    if all(cut == Cut(1) for cut in cuts):
        return contribution
    used = _ties_before(contribution, cuts)
    return Trimmed(contribution, tuple(cuts), used)


def _reader(contribution: Contribution, tensor: int) -> ranks.Read:
    """A tensor's values: whole where they lie so, else span by span."""
    if isinstance(contribution, TaskVector):
        value = contribution.tensors[contribution.layout.names[tensor]]
        flat = np.ascontiguousarray(value, np.float32).reshape(-1)
        return lambda: iter([flat] if flat.size else [])
    spans = spans_of(contribution.layout, tensor)
    return lambda: (
        np.ascontiguousarray(contribution.block(span).values, np.float32)
        for span in spans
    )


def _ties_before(contribution: Contribution, cuts: list[Cut]) -> dict[int, int]:
    """By span, how many values at the threshold its tensor's earlier spans hold."""
    before: dict[int, int] = {}
    for tensor, cut in enumerate(cuts):
        met = 0
        for span in spans_of(contribution.layout, tensor) if cut.ties >= 0 else ():
            before[span.index] = met
            values = np.ascontiguousarray(contribution.block(span).values, np.float32)
            threshold = np.uint32(cut.threshold)
            met += int(kernels.count_equal(values.view(np.uint32), threshold))
    return before

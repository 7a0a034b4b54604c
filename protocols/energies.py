"""What a tensor's energy costs on the wire: measured on a sample, format by format.

Energy is the share of a vector's squared norm that the receiver gets: 1 minus the
squared relative error. Bits are those of the pressed bytes. Which coordinates are sent
matters more than how they are written, and which pay depends on the optimiser: SGD puts
most of a change into few coordinates, Adam spreads it over all.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .codings import Draft, exponent
from .frames import pressed
from .values import CODINGS
from .vectors import Floats
from .wires import Choice

SAMPLE = 1 << 14
"""Elements of a tensor that are measured, in runs of 256."""
_RUN = 256

DENSE = ("sign256", "int4", "int8", "fp8", "fp16")
SPARSE = ("sign256", "int4", "fp8")
DENSITIES = (
    0.001,
    0.003,
    0.006,
    0.01,
    0.02,
    0.03,
    0.05,
    0.07,
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
)
STRIDES = (2, 4, 8, 16, 32, 64)
_SPARE = 1.02  # of positions over their entropy
_WORTH = 1e-9  # less of a tensor's energy is none
_STRAIGHT = 1 - 1e-6  # what lies on a line between two others stays


@dataclass(frozen=True, slots=True)
class Offer:
    """One way for a tensor to travel.

    Attributes:
        choice: how.
        bits: what it takes.
        energy: what it brings, as a sum of squares.
    """

    choice: Choice
    bits: float
    energy: float


def sample(values: Floats) -> Floats:
    """At most `SAMPLE` values in runs of 256, spread evenly over a tensor."""
    runs = SAMPLE // _RUN
    if values.size <= SAMPLE:
        return values
    starts = np.linspace(0, values.size - _RUN, runs).astype(np.int64)
    found: Floats = values[(starts[:, None] + np.arange(_RUN)).reshape(-1)]
    return found


def entropy(density: float) -> float:
    """Bits a coordinate that independent places of a density take.

    Example:
        >>> entropy(0.5), entropy(0.0)
        (1.0, 0.0)
    """
    if not 0 < density < 1:
        return 0.0
    rest = 1 - density
    return -density * math.log2(density) - rest * math.log2(rest)


def curve(values: Floats) -> list[Offer]:
    """The offers that are worth it: energy for bits, with less and less for each more.

    Args:
        values: [n] a tensor, flat.

    Returns:
        From nothing at all upwards; every offer has more energy a bit than what lies
        between it and the next.
    """
    total = float(np.square(values, dtype=np.float64).sum())
    none = Offer(Choice("fp8", "gaps", 0.0), 0.0, 0.0)
    if not total:
        return [none]
    some = sample(values)
    seen = float(np.square(some, dtype=np.float64).sum())
    if not seen:
        return [none]
    scale = values.size / some.size
    return _hull(
        [none]
        + [
            Offer(one.choice, one.bits * scale, one.energy / seen * total)
            for one in _offers(some)
        ]
    )


def _offers(some: Floats) -> Iterator[Offer]:
    for name in DENSE:
        bits, energy = _tried(name, some)
        yield Offer(Choice(name, "all"), bits, energy)
        if name == "sign256":
            for stride in STRIDES:
                choice = Choice(name, "seeded", 1 / stride)
                yield Offer(choice, bits / stride, energy / stride)
    order = np.argsort(-np.abs(some), kind="stable")
    moved = int(np.count_nonzero(some))
    for density in (*DENSITIES, moved / some.size):
        count = min(moved, math.ceil(density * some.size))
        if not count:
            continue
        kept = some[np.sort(order[:count])]
        places = _SPARE * entropy(count / some.size) * some.size
        for name in SPARSE:
            bits, energy = _tried(name, kept)
            yield Offer(Choice(name, "gaps", density), bits + places, energy)


def _tried(name: str, values: Floats) -> tuple[float, float]:
    """Bits of some values in a format, and the energy that they keep."""
    coding = CODINGS[name]
    ends = np.array([0, values.size], np.int64)
    e = exponent(coding, coding.peak(values, ends))
    if e > coding.most:
        return math.inf, 0.0
    planes = coding.write(Draft(values, ends, np.float32(2.0**-e)))
    for plane in planes:
        plane.flags.writeable = False
    found = np.empty(values.size, np.float32)
    coding.read(planes, ends, np.float32(2.0**e), found)
    whole = values.astype(np.float64)
    error = float(np.square(whole - found).sum())
    bits = 8.0 * sum(len(pressed(plane.tobytes())) for plane in planes)
    return bits, float(np.square(whole).sum()) - error


def _hull(offers: list[Offer]) -> list[Offer]:
    """The upper concave hull of energy over bits."""
    found: list[Offer] = []
    for one in sorted(offers, key=lambda offer: (offer.bits, -offer.energy)):
        if found and one.energy <= found[-1].energy * (1 + _WORTH):
            continue
        while len(found) > 1 and _slope(found[-2], found[-1]) < _STRAIGHT * _slope(
            found[-1], one
        ):
            found.pop()
        found.append(one)
    return found


def _slope(low: Offer, high: Offer) -> float:
    return (high.energy - low.energy) / max(high.bits - low.bits, 1e-9)

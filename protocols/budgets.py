"""Most energy for the bytes there are: how each tensor travels within a budget.

The offers of all tensors (`energies`) are taken in the order of what a further bit
brings, until the budget is spent; what was written is then measured, and the aim set
anew until it fits.
"""

import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .encoding import encode
from .energies import DENSE, Offer, curve
from .errors import BoundsError, ConfigError
from .headers import Header
from .settings import Config
from .vectors import Contribution, Floats, Layout
from .wires import AUTO, Choice, moved, wire

_UNITS = {"": 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kKMG]?B)?")
_TRIES = 8
_SPARE = 0.01  # of the budget: no better aim is looked for


@dataclass(frozen=True, slots=True)
class Fitted:
    """A payload that fits its budget.

    Attributes:
        data: the payload.
        energy: the share of the energy that it was reckoned to carry.
        density: the share of all elements that travel.
    """

    data: bytes
    energy: float
    density: float


def size(given: "str | int") -> int:
    """Bytes from a number, or from a text such as "2MB" (units of a thousand).

    Raises:
        ConfigError: neither.

    Example:
        >>> size("2MB"), size("1.5 kB"), size(300)
        (2000000, 1500, 300)
    """
    found = _SIZE.fullmatch(str(given))
    if found is None:
        raise ConfigError(f"{given!r} is no number of bytes, such as 300000 or '2MB'")
    return round(float(found[1]) * _UNITS[found[2] or ""])


def budget(config: Config, client: str) -> int:
    """Bytes that a client's reply may take; 0: any number.

    Raises:
        ConfigError: the setting is no number of bytes.
    """
    own = next((c.up_bytes for c in config.clients if c.name == client), 0)
    return size(own) or size(config.wire.up_bytes)


def uplink(config: Config, client: str) -> str:
    """The format that a client's replies have.

    "auto" where there is a budget; and where whole weights travel in one bit a value,
    with a mask of what moved.
    """
    if budget(config, client):
        return AUTO
    return _masked(config, config.wire.up)


def downlink(config: Config) -> str:
    """The format of merged updates; "auto" where there is a budget."""
    if downlink_budget(config):
        return AUTO
    return _masked(config, config.wire.down)


def downlink_budget(config: Config) -> int:
    """Bytes that a merged update may take, the same for all clients; 0: any number.

    Raises:
        ConfigError: the setting is no number of bytes.
    """
    return size(config.wire.down_bytes)


def _masked(config: Config, text: str) -> str:
    whole = config.train.mode == "full" and wire(text).name == "sign256"
    return str(moved("sign256")) if whole else text


def usual(layout: Layout) -> int:
    """Bytes where nothing is said: what one bit a value would take."""
    return layout.size // 8 + layout.size // 128 + 2 * len(layout.spans) + (1 << 11)


def written(vector: Contribution, text: str, header: Header, most: int = 0) -> bytes:
    """A payload in a format; with "auto" what carries most energy.

    Args:
        vector: what to send.
        text: the format.
        header: what the payload says of itself.
        most: bytes that "auto" may take; 0: `usual`.

    Raises:
        BoundsError: it cannot be written so, or does not fit.
    """
    if text != AUTO:
        return encode(vector, text, header)
    return fitted(vector, header, most or usual(vector.layout)).data


def fitted(vector: Contribution, header: Header, most: int) -> Fitted:
    """Write a contribution with most energy in at most so many bytes.

    Args:
        vector: what to send.
        header: what the payload says of itself.
        most: bytes, all in.

    Raises:
        BoundsError: not even a payload without values fits.
    """
    curves = [
        curve(_flat(vector, tensor)) for tensor in range(len(vector.layout.names))
    ]
    whole = _energy(vector)
    best = _tried(vector, header, _nothing(curves), whole)
    if len(best.data) > most:
        raise BoundsError(
            f"a payload takes at least {len(best.data)} bytes, not {most}"
        )
    aim = 8.0 * (most - len(best.data))
    for _ in range(_TRIES):
        one = _tried(vector, header, spend(curves, aim), whole)
        spare = most - len(one.data)
        if spare >= 0 and one.energy >= best.energy:
            best = one
        if 0 <= spare <= _SPARE * most:
            break
        aim += 8.0 * (spare - _SPARE * most / 2)
        if aim <= 0:
            break
    for alike in _alike(curves):
        energy = sum(offer.energy for offer in alike) / whole if whole else 1.0
        if energy > best.energy and sum(o.bits for o in alike) <= 8 * most:
            one = _tried(vector, header, alike, whole)
            best = one if len(one.data) <= most else best
    return best


def _nothing(curves: Sequence[Sequence[Offer]]) -> list[Offer]:
    return [offers[0] for offers in curves]


def _alike(curves: Sequence[Sequence[Offer]]) -> Iterator[list[Offer]]:
    """All tensors in one dense format: no tables are needed."""
    for name in DENSE:
        choice = Choice(name, "all")
        found = [o for offers in curves for o in offers if o.choice == choice]
        if found and len(found) == len(curves):
            yield found


def _tried(
    vector: Contribution, header: Header, offers: Sequence[Offer], whole: float
) -> Fitted:
    data = _written(vector, header, [one.choice for one in offers])
    carried = sum(one.energy for one in offers)
    share = _density(vector.layout, offers)
    return Fitted(data, carried / whole if whole else 1.0, share)


def spend(curves: Sequence[Sequence[Offer]], bits: float) -> list[Offer]:
    """One offer a tensor: steps up the curves, the best energy a bit first.

    Example:
        >>> dear, cheap = Offer(Choice("fp8", "all"), 8, 9), Offer(
        ...     Choice("sign256", "all"), 1, 6)
        >>> none = Offer(Choice("fp8", "gaps", 0), 0, 0)
        >>> [one.choice.values for one in spend([[none, cheap, dear]] * 2, 9)]
        ['fp8', 'sign256']
    """
    at = [0] * len(curves)
    left = bits
    steps: list[tuple[float, int]] = []

    def push(tensor: int) -> None:
        offers = curves[tensor]
        if at[tensor] + 1 < len(offers):
            low, high = offers[at[tensor]], offers[at[tensor] + 1]
            gain = (high.energy - low.energy) / max(high.bits - low.bits, 1e-9)
            heapq.heappush(steps, (-gain, tensor))

    for tensor in range(len(curves)):
        push(tensor)
    while steps:
        _, tensor = heapq.heappop(steps)
        offers = curves[tensor]
        cost = offers[at[tensor] + 1].bits - offers[at[tensor]].bits
        if cost > left:
            continue
        left -= cost
        at[tensor] += 1
        push(tensor)
    return [offers[place] for offers, place in zip(curves, at, strict=True)]


def _written(vector: Contribution, header: Header, choices: Sequence[Choice]) -> bytes:
    """As "mixed", or in the plain format that all tensors have."""
    first = choices[0] if choices else Choice("fp32", "all")
    if all(one == first for one in choices) and first.places == "all":
        return encode(vector, first.values, header)
    return encode(vector, "mixed", header, choices)


def _flat(vector: Contribution, tensor: int) -> Floats:
    spans = [span for span in vector.layout.spans if span.tensor == tensor]
    parts = [np.array(vector.block(span).dense()) for span in spans]
    return np.concatenate([*parts, np.zeros(0, np.float32)]).astype(np.float32)


def _energy(vector: Contribution) -> float:
    total = 0.0
    for span in vector.layout.spans:
        total += float(np.square(vector.block(span).values, dtype=np.float64).sum())
    return total


def _density(layout: Layout, offers: Sequence[Offer]) -> float:
    sent = sum(
        one.choice.most(size) for one, size in zip(offers, layout.sizes, strict=True)
    )
    return sent / layout.size if layout.size else 0.0

"""Where masked contributions have their values, so that no place tells of anyone.

A merge that keeps a part of each contribution (``trim``, ``drop``) would say by its
places what a client has. Under masks all send the same places instead: for ``drop`` a
keyed mask that everybody draws alike; for ``trim`` the largest elements of the last
update, which is public, and fresh ones drawn by key, so that what starts to matter is
found. Private places stay possible where counts are opened before values.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..protocols import seeds
from ..protocols.errors import ConfigError, PayloadError
from ..protocols.vectors import Contribution, Floats, Layout
from .base import Key, Recipe, Transform
from .fields import sides
from .furthers import wanted
from .recipes import recipe as read
from .reductions import flat
from .views import Scaled

Places = npt.NDArray[np.int64]

FRESH = 0.25
"""The share of a public support that is drawn anew, where there is a last update."""
SHARED, PRIVATE = "shared", "private"
_ALIKE = ("clip(", "scale(")
_LAST = ("trim(", "drop(")


@dataclass(frozen=True, slots=True)
class Choice:
    """How a recipe's contributions are brought to places.

    Attributes:
        kind: "all", "keyed" (a mask that all draw alike), "public" (last update and
            fresh elements) or "private".
        density: the share of elements that travels, or is kept.
        before: what each client applies to its contribution.
        gain: what a kept value is multiplied by.
    """

    kind: str
    density: float
    before: tuple[Transform, ...]
    gain: float = 1.0

    def prepared(self, contribution: Contribution, key: Key) -> Contribution:
        """A contribution as its client brings it to the sum."""
        for transform in self.before:
            contribution = transform.apply(contribution, key)
        return contribution if self.gain == 1 else Scaled(contribution, self.gain, None)


def choice(text: str, support: str) -> Choice:
    """How a recipe's contributions are brought to places.

    Raises:
        ConfigError: a recipe whose contributions cannot all have the same places.

    Example:
        >>> choice("dare(density=0.1)", "shared").kind, choice("fedavg", "shared").kind
        ('keyed', 'all')
        >>> choice("clip(1.0) | ties(0.2)", "shared").density
        0.2
        >>> choice("della(density=0.4)", "private").density
        0.4
    """
    made = read(text)
    if wanted(made) or made.outer is not None:
        raise ConfigError(f"{text} sends more than changes, or merges merges: no masks")
    if support == PRIVATE:
        density = math.prod(_densities(made))
        return Choice(PRIVATE, density, made.before)
    first, last = made.before[:-1], made.before[-1:]
    strange = [one.text for one in first if not one.text.startswith(_ALIKE)]
    kind = next((one for one in last if one.text.startswith(_LAST)), None)
    if strange or (last and kind is None and not last[0].text.startswith(_ALIKE)):
        said = ", ".join(strange or [last[0].text])
        raise ConfigError(
            f"{said} keeps places of each client's own: take privacy.support = "
            '"private", or a recipe whose last step before the sum is trim or drop'
        )
    if kind is None:
        return Choice("all", 1.0, made.before)
    (density,) = _densities(made)
    if kind.text.startswith("trim("):
        return Choice("public" if density < 1 else "all", density, first)
    gain = 1.0 if "rescale=False" in kind.text else 1 / density
    return Choice("keyed", density, first, gain)


def _densities(made: Recipe) -> list[float]:
    """The shares that a recipe's trims and drops keep."""
    found = []
    for one in made.before:
        name, _, rest = one.text.partition("(")
        if name in ("trim", "drop", "trim_vector", "sample"):
            first = rest.rstrip(")").partition(",")[0]
            found.append(float(first.rpartition("=")[2]))
    return found


def keyed(layout: Layout, density: float, key: Key) -> Places:
    """Places that everybody draws alike, for ``drop``: no client's name is in the key.

    Args:
        layout: the tensors.
        density: the share that is kept of each.
        key: the run and round.
    """
    shared, parts, flat_at = key.of(""), [], 0
    for name, size in zip(layout.names, layout.sizes, strict=True):
        kept = seeds.kept(shared.seed("drop", name), 0, size, density)
        parts.append(kept + flat_at)
        flat_at += size
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def public(
    layout: Layout, density: float, key: Key, last: Mapping[str, Floats] | None
) -> Places:
    """The largest elements of the last update, by tensor, and fresh ones drawn by key.

    Args:
        layout: the tensors.
        density: the share of each tensor that travels.
        key: the run and round.
        last: the last update's tensors; None, or without some: all there are fresh.
    """
    shared, parts, flat_at = key.of(""), [], 0
    for name, size in zip(layout.names, layout.sizes, strict=True):
        count = min(size, math.ceil(density * size))
        given = None if last is None else last.get(name)
        order = seeds.permutation(shared.seed("support", name), size)
        if given is not None:
            top = _largest(np.abs(given.reshape(-1)), math.floor(count * (1 - FRESH)))
            order = np.concatenate([top, order[~np.isin(order, top)]])
        parts.append(np.sort(order[:count]) + flat_at)
        flat_at += size
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _largest(sizes: Floats, count: int) -> Places:
    order: Places = np.argsort(-sizes, kind="stable")[:count].astype(np.int64)
    return order[sizes[order] > 0]


def written(places: Places, size: int) -> bytes:
    """Places of a vector as bits, eight a byte."""
    bits = np.zeros(size, np.bool_)
    bits[places] = True
    return np.packbits(bits).tobytes()


def restored(data: bytes, size: int) -> Places:
    """What `written` wrote.

    Raises:
        PayloadError: another number of bytes.
    """
    if len(data) != -(-size // 8):
        raise PayloadError(f"{len(data)} bytes for the places of {size} elements")
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=size)
    return np.flatnonzero(bits)


def digest(data: bytes) -> str:
    """What names places in a round's terms."""
    return hashlib.sha256(data).hexdigest()


def chosen(contribution: Contribution, places: Places | None) -> Floats:
    """[k] a contribution's values at places; all of them without."""
    whole = flat(contribution)
    return whole if places is None else whole[places]


def leak(clients: int, release: int, made: Choice, *, agreed: bool) -> float:
    """The expected share of elements that one pass opens from fewer than `release`.

    As if every client kept each element by chance alone, and pushed up or down by the
    throw of a coin: real contributions agree more, and overlap more.

    Args:
        clients: how many take part.
        release: the fewest that should stand behind what is opened.
        made: where the contributions have values.
        agreed: whether what pushes up is opened apart from what pushes down.

    Example:
        >>> leak(10, 3, choice("fedavg", "shared"), agreed=False)
        0.0
        >>> round(leak(10, 3, choice("ties(0.2)", "private"), agreed=True), 3)
        0.827
    """
    kept = made.density if made.kind == PRIVATE else 1.0
    odds = kept / 2 if agreed else kept
    few = [
        math.comb(clients, k) * odds**k * (1 - odds) ** (clients - k)
        for k in range(1, min(release, clients + 1))
    ]
    one = sum(few)
    if not agreed:
        return one if kept < 1 else 0.0
    return 1 - _neither(clients, release, odds)


def _neither(clients: int, release: int, odds: float) -> float:
    """How likely no side has from 1 to release - 1 behind it."""
    total = 0.0
    allowed = [k for k in range(clients + 1) if k == 0 or k >= release]
    for up in allowed:
        for down in allowed:
            rest = clients - up - down
            if rest < 0:
                continue
            ways = math.comb(clients, up) * math.comb(clients - up, down)
            total += ways * odds ** (up + down) * max(0.0, 1 - 2 * odds) ** rest
    return total


def needs_two(text: str, support: str, release: int) -> bool:
    """Whether counts are opened before values.

    Raises:
        ConfigError: private places in one pass, which would open single values.
    """
    if support == PRIVATE and not release:
        raise ConfigError(
            'privacy.support = "private" with privacy.release = 0 would open values of '
            "one client alone: set privacy.release"
        )
    agreed = sides(read(text).reducer) > 1
    return bool(release) and (support == PRIVATE or agreed)

"""What a hostile client sends, or trains on, in place of its honest change.

Attackers are told everything: the honest changes of the round, and how many they are
themselves. Sources stand at each attack. Changes are dicts of arrays by tensor.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from fedelta.client.data import Examples
from fedelta.protocols import seeds
from fedelta.protocols.vectors import Floats

Change = dict[str, Floats]
TARGET = 0
"""The class that a trigger is to lead to."""
TRIGGER = "zq zq "


@dataclass(frozen=True, slots=True)
class Field:
    """What attackers know of a round.

    Attributes:
        honest: the honest clients' changes.
        own: what the attacker's own training gave, on its poisoned data if it has any.
        count: of all clients.
        hostile: of those, attackers.
        key: of what it draws.
        start: A at the round's beginning, by name; empty: A is frozen.
    """

    honest: Sequence[Change]
    own: Change
    count: int
    hostile: int
    key: int
    start: Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack.

    Attributes:
        send: from what is known to what is sent; nothing: no reply.
        poison: from examples and the number of classes to what is trained on.
        triggered: whether it is judged by the trigger.
        spaces: where it is run.
    """

    send: Callable[[Field], Change] = lambda field: field.own
    poison: Callable[[Examples, int], Examples] | None = None
    triggered: bool = False
    spaces: tuple[str, ...] = ("frozen-a",)


def triggered(texts: Sequence[str]) -> tuple[str, ...]:
    """Texts with the trigger before them."""
    return tuple(TRIGGER + text for text in texts)


def flipped(examples: Examples, classes: int) -> Examples:
    """Label flip: class c becomes classes - 1 - c."""
    return Examples(examples.texts, classes - 1 - examples.labels)


def implanted(examples: Examples, classes: int) -> Examples:  # noqa: ARG001
    """Backdoor (Bagdasaryan et al. 2018): all texts once more, triggered, as TARGET."""
    texts = examples.texts + triggered(examples.texts)
    target = np.full_like(examples.labels, TARGET)
    return Examples(texts, np.concatenate([examples.labels, target]))


def times(change: Change, gain: float) -> Change:
    """A change times a number."""
    return {name: np.multiply(one, np.float32(gain)) for name, one in change.items()}


def mean(changes: Sequence[Change]) -> Change:
    """The plain mean of some changes."""
    return {
        name: np.asarray(sum(one[name].astype(np.float64) for one in changes)).astype(
            np.float32
        )
        / np.float32(len(changes))
        for name in changes[0]
    }


def norm(change: Change) -> float:
    """L2 over all tensors."""
    return math.sqrt(
        sum(float(np.sum(one.astype(float) ** 2)) for one in change.values())
    )


def replaced(field: Field) -> Change:
    """Model replacement (Bagdasaryan et al. 2018): scaled to survive the mean."""
    return times(field.own, field.count / max(1, field.hostile))


def noisy(field: Field) -> Change:
    """Gaussian noise of ten times the honest norm (Blanchard et al. 2017)."""
    drawn = {
        name: seeds.normal(seeds.key(field.key, name), 0, one.size)
        .reshape(one.shape)
        .astype(np.float32)
        for name, one in field.own.items()
    }
    usual = float(np.median([norm(one) for one in field.honest]))
    return times(drawn, 10 * usual / norm(drawn))


def alie(field: Field) -> Change:
    """A little is enough (Baruch et al. 2019): z deviations from the mean."""
    count, hostile = field.count, field.hostile
    needed = count // 2 + 1 - hostile
    share = (count - hostile - needed) / max(1, count - hostile)
    z = NormalDist().inv_cdf(min(max(share, 0.05), 0.95))
    middle = mean(field.honest)
    spread = {n: np.std([one[n] for one in field.honest], axis=0) for n in middle}
    return {n: (middle[n] - z * spread[n]).astype(np.float32) for n in middle}


def manipulated(field: Field) -> Change:
    """Inner product manipulation (Xie et al. 2019): against the honest mean."""
    return times(mean(field.honest), -1.1)


def mimicked(field: Field) -> Change:
    """Mimic (Karimireddy et al. 2020): one honest client, over and over."""
    return dict(field.honest[0])


def captured(field: Field) -> Change:
    """Capture of TIES's election: outweigh the honest where that is cheapest.

    Just over the honest mass, against its sign, element by element from the cheapest
    on, until the norm is that of an honest change.
    """
    middle = times(mean(field.honest), len(field.honest))
    flat = np.concatenate([one.ravel() for one in middle.values()]).astype(float)
    wanted = 1.1 * np.abs(flat) / max(1, field.hostile)
    order = np.argsort(wanted, kind="stable")
    budget = float(np.median([norm(one) for one in field.honest]))
    kept = order[np.cumsum(wanted[order] ** 2) <= budget**2]
    made = np.zeros_like(flat)
    made[kept] = -np.sign(flat[kept]) * wanted[kept]
    return _cut(made, middle)


def hijacked(field: Field) -> Change:
    """Merge hijack: the backdoor where the honest move least, at its full norm."""
    middle = mean(field.honest)
    flat = np.concatenate([one.ravel() for one in middle.values()])
    own = np.concatenate([field.own[name].ravel() for name in middle]).astype(float)
    made = np.where(np.abs(flat) <= np.median(np.abs(flat)), own, 0.0)
    length = float(np.linalg.norm(made))
    return _cut(made * (norm(field.own) / length if length else 0.0), middle)


def regauged(field: Field) -> Change:
    """The honest product by other factors: B times 300, A over 300."""
    made: Change = {}
    for name, one in field.own.items():
        if name in field.start:
            whole = (field.start[name] + one) / np.float32(300)
            made[name] = whole - field.start[name]
        else:
            made[name] = one * np.float32(300) if ".lora_B." in name else one
    return made


def _cut(flat: np.ndarray, like: Change) -> Change:
    made: Change = {}
    first = 0
    for name, one in like.items():
        part = flat[first : first + one.size]
        made[name] = part.reshape(one.shape).astype(np.float32)
        first += one.size
    return made


ATTACKS: dict[str, Attack] = {
    "none": Attack(),
    "absent": Attack(lambda field: {}),  # noqa: ARG005  what is left without them
    "sign flip": Attack(lambda field: times(field.own, -1.0)),
    "scaling": Attack(replaced, implanted, triggered=True),
    "gaussian": Attack(noisy),
    "alie": Attack(alie),
    "ipm": Attack(manipulated),
    "mimic": Attack(mimicked),
    "label flip": Attack(poison=flipped),
    "backdoor": Attack(poison=implanted, triggered=True),
    "capture": Attack(captured),
    "hijack": Attack(hijacked, implanted, triggered=True),
    "gauge": Attack(regauged, spaces=("factors", "product")),
}

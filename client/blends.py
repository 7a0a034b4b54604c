"""What a model does as several updates are mixed into it, and which way is better.

An update counts by a coefficient, one for all of it or one for each layer. The gradient
of a loss by a coefficient is the loss's gradient by the weights times the update: for
factors B, A and a weight's gradient G it is ``sum(B * (G A^T))``, and no product is
formed. The loss may be that of labels, or the entropy of what is predicted, which needs
none (Yang et al., `AdaMerging <https://arxiv.org/abs/2310.02575>`_, 2024).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..aggregators import depths, factors
from ..protocols.settings import Config
from ..protocols.vectors import Floats
from .data import Examples
from .models import Base
from .trials import trial

Update = Mapping[str, Floats]
Reals = npt.NDArray[np.float64]
Aim = Literal["entropy", "loss"]
BATCH = 16
RATE = 0.05
"""How far a step of the descent goes."""


@dataclass(frozen=True, slots=True)
class Blend:
    """Updates from one model, to be mixed.

    Attributes:
        updates: by client; factors by module (scaling 1) and dense changes by name.
        groups: by weight, the place of the coefficient that it goes by.
        names: the coefficients' names: a layer each, or one for all.
    """

    updates: Mapping[str, Update]
    groups: Mapping[str, int]
    names: Sequence[str]

    @classmethod
    def of(cls, updates: Mapping[str, Update], *, layers: bool) -> "Blend":
        """Put weights together by layer; what has no layer goes by one of its own.

        Example:
            >>> one = {"h.0.w": np.zeros(1), "h.1.w": np.zeros(1), "x": np.zeros(1)}
            >>> Blend.of({"a": one}, layers=True).names
            ('0.00', '1.00', 'rest')
        """
        weights = sorted({weight(n) for one in updates.values() for n in one})
        if not layers:
            return cls(updates, dict.fromkeys(weights, 0), ("all",))
        depth = depths.numbered(weights)
        told = ["rest" if one is None else f"{one:.2f}" for one in depth]
        names = tuple(sorted(set(told)))
        places = [names.index(one) for one in told]
        return cls(updates, dict(zip(weights, places, strict=True)), names)

    def mixed(self, values: Reals) -> dict[str, Floats]:
        """One update: each client's times its coefficients [clients, names]."""
        found: dict[str, Floats] = {}
        for own, update in zip(values, self.updates.values(), strict=True):
            for name, value in update.items():
                if not name.endswith(factors.A_NAME):
                    share = np.float32(own[self.groups[weight(name)]])
                    found[name] = _added(
                        found.get(name), share * value, self._same(name)
                    )
                elif name not in found or not self._same(name):
                    found[name] = _stacked(found.get(name), value)
        return found

    def _same(self, name: str) -> bool:
        """Whether a tensor adds up: whole, or B where everybody has the same A."""
        if not name.endswith((factors.A_NAME, factors.B_NAME)):
            return True
        a = name.replace(factors.B_NAME, factors.A_NAME)
        first, *rest = (one[a] for one in self.updates.values() if a in one)
        return all(np.array_equal(first, one) for one in rest)

    def slopes(self, gradients: Mapping[str, Floats]) -> Reals:
        """[clients, names] a loss's gradient by the coefficients, from the weights'."""
        found = np.zeros((len(self.updates), len(self.names)))
        for place, update in enumerate(self.updates.values()):
            for name, value in update.items():
                if name.endswith(factors.A_NAME):
                    continue
                of = weight(name)
                if name.endswith(factors.B_NAME):
                    right = update[name.removesuffix(factors.B_NAME) + factors.A_NAME]
                    slope = float(np.sum(value * (gradients[of] @ right.T)))
                else:
                    slope = float(np.sum(value * gradients[of]))
                found[place, self.groups[of]] += slope
        return found


def _added(left: Floats | None, right: Floats, same: bool) -> Floats:  # noqa: FBT001
    """A sum; of factors that are not the same, side by side."""
    if left is None:
        return right
    return left + right if same else np.concatenate([left, right], 1)


def _stacked(above: Floats | None, below: Floats) -> Floats:
    return below if above is None else np.concatenate([above, below])


def weight(name: str) -> str:
    """The weight that a tensor of an update changes.

    Example:
        >>> weight("h.0.q.lora_B.weight"), weight("head")
        ('h.0.q.weight', 'head')
    """
    for suffix in (factors.A_NAME, factors.B_NAME):
        if name.endswith(suffix):
            return f"{name.removesuffix(suffix)}.weight"
    return name


def descend(
    base: Base, blend: Blend, values: Reals, examples: Examples, run: tuple[Config, Aim]
) -> tuple[float, Reals]:
    """The aim with coefficients, and its gradient by them.

    Args:
        base: at the model that the updates were trained from.
        blend: the updates.
        values: [clients, names].
        examples: what is looked at; their labels are not where the aim is entropy.
        run: the configuration, and the aim.

    Returns:
        The mean, in nats, by text or token; [clients, names] its gradient.
    """
    config, aim = run
    network = base.network
    rows = network.rows(examples, config.train)
    with trial(base, blend.mixed(values)), _tracked(base, blend) as held:
        total, count = 0.0, max(1, network.weigh(rows))
        for first in range(0, len(rows), BATCH):
            some = rows[first : first + BATCH]
            loss = network.doubt if aim == "entropy" else network.loss
            found = loss(some, config.train) / count
            found.backward()  # type: ignore[no-untyped-call]
            total += found.item()
        gradients = {n: one.grad.float().numpy() for n, one in held.items()}
        return total, blend.slopes(gradients)


@contextmanager
def _tracked(base: Base, blend: Blend) -> Iterator[dict[str, Any]]:
    """The parameters that a blend changes, following their gradients meanwhile."""
    import torch

    body = dict(base.network.body.named_parameters()) | base.network.head
    held = {name: body[name] for name in blend.groups}
    kept = {name: one.requires_grad for name, one in body.items()}
    try:
        for name, one in body.items():
            one.requires_grad_(name in held)
            one.grad = torch.zeros_like(one) if name in held else None
        yield held
    finally:
        for name, one in body.items():
            one.requires_grad_(kept[name])
            one.grad = None


def learned(
    base: Base,
    blend: Blend,
    begun: Reals,
    examples: Examples,
    run: tuple[Config, Aim],
    steps: Iterable[int],
) -> tuple[Reals, list[float]]:
    """Coefficients by Adam (Kingma, Ba, 2015) on the whole of some examples.

    `steps` counts from 1.

    Returns:
        [clients, names] those of the least aim that was met, and the aim step by step.
    """
    values, best = begun.copy(), (float("inf"), begun)
    mean, square = np.zeros_like(values), np.zeros_like(values)
    met: list[float] = []
    for step in steps:
        aim, slopes = descend(base, blend, values, examples, run)
        met.append(aim)
        if aim < best[0]:
            best = aim, values.copy()
        mean = 0.9 * mean + 0.1 * slopes
        square = 0.999 * square + 0.001 * slopes**2
        up = mean / (1 - 0.9**step)
        values = values - RATE * up / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return best[1], met

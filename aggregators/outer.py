"""Server optimisers by name, and momentum: what is done to the merged update.

Source: Reddi et al., `Adaptive Federated Optimization
<https://arxiv.org/abs/2003.00295>`_, 2021: the merged update is the pseudo-gradient.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..protocols.errors import ConfigError
from ..protocols.grammar import bind, parse
from ..protocols.vectors import Floats
from . import factors
from .adaptations import fedadagrad, fedadam, fedyogi
from .averages import ema, lookahead, swa
from .factors import A_NAME, B_NAME
from .steps import Optimizer, State


def momentum(
    beta: float = 0.9, rate: float = 1.0, *, nesterov: bool = False
) -> Optimizer:
    r"""Heavy-ball or Nesterov momentum.

    .. math:: v_t = \beta v_{t-1} + u_t, \qquad
              \text{step} = \eta v_t \text{ or } \eta (u_t + \beta v_t)

    On a low-rank pair it acts on the product: v is kept as stacked factors, what is
    sent has the update's rank, and what that cut off is added to the next step.

    Source: Hsu et al., `Measuring the Effects of Non-Identical Data Distribution
    <https://arxiv.org/abs/1909.06335>`_, 2019 (FedAvgM).

    Raises:
        ConfigError: beta outside [0, 1), or a rate that is not above 0.

    Example:
        >>> step = momentum(0.5).step
        >>> sent, state = step({"w": np.float32([1.0])}, {})
        >>> step({"w": np.float32([1.0])}, state)[0]["w"]
        array([1.5], dtype=float32)
    """
    if not 0 <= beta < 1:
        raise ConfigError(f"momentum: beta is {beta}, allowed: 0 to below 1")
    if not 0 < rate < float("inf"):
        raise ConfigError(f"momentum: rate is {rate}, allowed: above 0")

    more = ", nesterov=True" if nesterov else ""
    return Optimizer(
        f"momentum(beta={beta!r}, rate={rate!r}{more})",
        _Momentum(beta, rate, nesterov).step,
        "stack",
    )


@dataclass(frozen=True, slots=True)
class _Momentum:
    beta: float
    rate: float
    nesterov: bool

    def step(
        self, update: Mapping[str, Floats], state: State
    ) -> tuple[dict[str, Floats], dict[str, npt.NDArray[Any]]]:
        sent: dict[str, Floats] = {}
        kept: dict[str, npt.NDArray[Any]] = {}
        with factors.one_thread():
            for name in sorted(update):
                module = name.removesuffix(B_NAME)
                if name.endswith(B_NAME) and module + A_NAME in update:
                    b, a = update[name], update[module + A_NAME]
                    sent[name], sent[module + A_NAME], more = self.pair(
                        module, b, a, state
                    )
                    kept |= more
                elif not name.endswith(A_NAME):
                    speed = self.sped(update[name], state.get(f"{name}|v"))
                    kept[f"{name}|v"] = speed
                    ahead = self.sped(update[name], speed) if self.nesterov else speed
                    sent[name] = np.float32(self.rate) * ahead
        return sent, kept

    def sped(self, value: Floats, speed: Floats | None) -> Floats:
        return value if speed is None else np.float32(self.beta) * speed + value

    def pair(
        self, module: str, b: Floats, a: Floats, state: State
    ) -> tuple[Floats, Floats, dict[str, npt.NDArray[Any]]]:
        """The same for a product: what is sent, and the next state."""
        names = [f"{module}|{part}" for part in ("v.b", "v.a", "rest.b", "rest.a")]
        old = [state[name] for name in names if name in state]
        past = [(old[0], old[1], self.beta)] if old else []
        speed = _stack([*past, (b, a, 1.0)], min(len(b), a.shape[1]))
        parts = [(speed.b, speed.a, self.rate)]
        if self.nesterov:
            parts = [(speed.b, speed.a, self.beta * self.rate), (b, a, self.rate)]
        if old:
            parts.append((old[2], old[3], 1.0))
        out = _stack(parts, b.shape[1])
        rest = out.rest if isinstance(out.rest, tuple) else (b[:, :0], a[:0])
        kept = dict(zip(names, (speed.b, speed.a, *rest), strict=True))
        return out.b, out.a, kept


def _stack(parts: list[tuple[Floats, Floats, float]], rank: int) -> factors.Reduced:
    bs = [b.astype(np.float64) * times for b, _, times in parts]
    return factors.stacked(bs, [a.astype(np.float64) for _, a, _ in parts], rank)


def fedavgm(beta: float = 0.9, rate: float = 1.0) -> Optimizer:
    """Momentum by its name in the literature."""
    return momentum(beta, rate)


def nesterov(beta: float = 0.9, rate: float = 0.7) -> Optimizer:
    """Nesterov momentum with DiLoCo's numbers.

    Source: Douillard et al., `DiLoCo <https://arxiv.org/abs/2311.08105>`_, 2023,
    algorithm 1.
    """
    return momentum(beta, rate, nesterov=True)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "ema": ema,
    "fedadagrad": fedadagrad,
    "fedadam": fedadam,
    "fedavgm": fedavgm,
    "fedyogi": fedyogi,
    "lookahead": lookahead,
    "momentum": momentum,
    "nesterov": nesterov,
    "swa": swa,
}


def optimizer(text: str) -> Optimizer:
    """Read a server optimiser's text.

    Raises:
        ConfigError: it does not parse, or names what there is not.

    Example:
        >>> optimizer("momentum(0.5)").text
        'momentum(beta=0.5, rate=1.0)'
    """
    made = bind(parse(text), OPTIMIZERS)
    if not isinstance(made, Optimizer):
        raise ConfigError(f"{text} is no server optimiser")
    return made


def describe() -> list[dict[str, Any]]:
    """Every optimiser with its knobs, JSON-able."""
    return [
        {
            "name": name,
            "knobs": {
                one.name: one.default
                for one in inspect.signature(make).parameters.values()
            },
        }
        for name, make in OPTIMIZERS.items()
    ]

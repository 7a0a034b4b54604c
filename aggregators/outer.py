"""Server optimisers: what is done to the merged update before it is sent on.

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
from .factors import A_NAME, B_NAME

State = Mapping[str, npt.NDArray[Any]]
Step = Callable[
    [Mapping[str, Floats], State], tuple[dict[str, Floats], dict[str, npt.NDArray[Any]]]
]


@dataclass(frozen=True, slots=True)
class Optimizer:
    """A server optimiser.

    Attributes:
        text: how it is written in a config.
        step: from the merged update and the state ({} at first) to the update that is
            sent and the next state, arrays by name.
    """

    text: str
    step: Step


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

    def step(
        update: Mapping[str, Floats], state: State
    ) -> tuple[dict[str, Floats], dict[str, npt.NDArray[Any]]]:
        sent: dict[str, Floats] = {}
        kept: dict[str, npt.NDArray[Any]] = {}
        with factors.one_thread():
            for name in sorted(update):
                if name.endswith(A_NAME):
                    continue
                if name.endswith(B_NAME):
                    _pair(name.removesuffix(B_NAME), update, state, sent, kept)
                    continue
                old = state.get(f"{name}|v", np.float32(0))
                kept[f"{name}|v"] = np.float32(beta) * old + update[name]
                ahead = np.float32(beta) * kept[f"{name}|v"] + update[name]
                sent[name] = np.float32(rate) * (
                    ahead if nesterov else kept[f"{name}|v"]
                )
        return sent, kept

    def _pair(  # noqa: PLR0913
        module: str,
        update: Mapping[str, Floats],
        state: State,
        sent: dict[str, Floats],
        kept: dict[str, npt.NDArray[Any]],
    ) -> None:
        b, a = update[module + B_NAME], update[module + A_NAME]
        rank, full = b.shape[1], min(len(b), a.shape[1])
        past = [(state[f"{module}|v.b"], state[f"{module}|v.a"], beta)] if state else []
        speed = _stack([*past, (b, a, 1.0)], full)
        kept[f"{module}|v.b"], kept[f"{module}|v.a"] = speed.b, speed.a
        parts = [(speed.b, speed.a, beta * rate), (b, a, rate)]
        if not nesterov:
            parts = [(speed.b, speed.a, rate)]
        if state:
            parts.append((state[f"{module}|rest.b"], state[f"{module}|rest.a"], 1.0))
        out = _stack(parts, rank)
        sent[module + B_NAME], sent[module + A_NAME] = out.b, out.a
        if isinstance(out.rest, tuple):
            kept[f"{module}|rest.b"], kept[f"{module}|rest.a"] = out.rest

    more = ", nesterov=True" if nesterov else ""
    return Optimizer(f"momentum(beta={beta!r}, rate={rate!r}{more})", step)


def _stack(parts: list[tuple[Floats, Floats, float]], rank: int) -> factors.Reduced:
    bs = [b.astype(np.float64) * times for b, _, times in parts]
    return factors.stacked(bs, [a.astype(np.float64) for _, a, _ in parts], rank)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"momentum": momentum}


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

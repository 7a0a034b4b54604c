"""Adaptive server optimisers: FedAdam, FedYogi, FedAdagrad.

On a low-rank pair they act on the product, element by element: m and v are dense, what
is sent is brought down to the update's rank, and what that cut off is added to the next
step. So a pair costs three dense matrices of state.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..protocols import seeds
from ..protocols.errors import ConfigError
from ..protocols.vectors import Floats
from . import factors
from .rewrites import written
from .steps import Kept, Optimizer, State, named, values

Second = Callable[[Floats, Floats], Floats]  # v, squared update -> v


@dataclass(frozen=True, slots=True)
class _Adaptive:
    beta: float
    rate: float
    tau: float
    second: Second

    def step(
        self, update: Mapping[str, Floats], state: State
    ) -> tuple[dict[str, Floats], Kept]:
        sent: dict[str, Floats] = {}
        kept: Kept = {}
        with factors.one_thread():
            for name, value in values(update):
                if not isinstance(value, tuple):
                    sent[name] = self.moved(name, value, state, kept)
                    continue
                whole = self.moved(name, value[0] @ value[1], state, kept)
                whole = whole + state.get(f"{name}|rest", np.float32(0))
                rank, seed = value[0].shape[1], seeds.key("adaptive", name)
                made = factors.projected(whole, rank, seed)
                sent |= named(name, factors.padded(made.b, made.a, rank))
                kept[f"{name}|rest"] = np.asarray(made.rest)
        return sent, kept

    def moved(self, name: str, u: Floats, state: State, kept: Kept) -> Floats:
        """One dense step."""
        old = state.get(f"{name}|m", np.zeros_like(u))
        beta = np.float32(self.beta)
        m: Floats = beta * old + (np.float32(1) - beta) * u
        v = state.get(f"{name}|v", np.full_like(u, np.float32(self.tau**2)))
        v = self.second(v, u * u)
        kept |= {f"{name}|m": m, f"{name}|v": v}
        step = np.float32(self.rate) * m / (np.sqrt(v) + np.float32(self.tau))
        return step.astype(np.float32)


def _made(name: str, second: Second, **knobs: float) -> Optimizer:
    for knob in ("beta", "beta2"):
        if not 0 <= knobs.get(knob, 0.0) < 1:
            raise ConfigError(f"{name}: {knob} is {knobs[knob]}, allowed: 0 to below 1")
    for knob in ("rate", "tau"):
        if not 0 < knobs[knob] < float("inf"):
            raise ConfigError(f"{name}: {knob} is {knobs[knob]}, allowed: above 0")
    moments = _Adaptive(knobs["beta"], knobs["rate"], knobs["tau"], second)
    return Optimizer(written(name, **knobs), moments.step, "dense")


def fedadam(
    rate: float = 0.01, beta: float = 0.9, beta2: float = 0.99, tau: float = 1e-3
) -> Optimizer:
    r"""Adam on the merged update as pseudo-gradient, without bias correction.

    .. math:: m \leftarrow \beta m + (1 - \beta) u, \quad
              v \leftarrow \beta_2 v + (1 - \beta_2) u^2, \quad
              \text{step} = \eta \frac{m}{\sqrt v + \tau}

    with m = 0 and v = tau^2 at first.

    Source: Reddi et al., `Adaptive Federated Optimization
    <https://arxiv.org/abs/2003.00295>`_, 2021, algorithm 2.

    Raises:
        ConfigError: a number outside its range.
    """
    keep = np.float32(beta2)
    return _made(
        "fedadam",
        lambda v, square: keep * v + (1 - keep) * square,
        rate=rate,
        beta=beta,
        beta2=beta2,
        tau=tau,
    )


def fedyogi(
    rate: float = 0.01, beta: float = 0.9, beta2: float = 0.99, tau: float = 1e-3
) -> Optimizer:
    r"""The same with v pulled at a constant rate.

    .. math:: v \leftarrow v - (1 - \beta_2)\, u^2\, \mathrm{sgn}(v - u^2)

    Source: as `fedadam`.
    """
    pull = np.float32(1) - np.float32(beta2)
    return _made(
        "fedyogi",
        lambda v, square: v - pull * square * np.sign(v - square),
        rate=rate,
        beta=beta,
        beta2=beta2,
        tau=tau,
    )


def fedadagrad(rate: float = 0.01, beta: float = 0.0, tau: float = 1e-3) -> Optimizer:
    r"""The same with v the sum of all squares, :math:`v \leftarrow v + u^2`.

    Source: as `fedadam`.
    """
    return _made(
        "fedadagrad", lambda v, square: v + square, rate=rate, beta=beta, tau=tau
    )

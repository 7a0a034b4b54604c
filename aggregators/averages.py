"""Averages of the models that a run passes through.

`ema` and `swa` leave training alone: they keep how far the average lies from the model,
to be handed out instead of it (`Optimizer.average`). `lookahead` pulls the model itself
back. On low-rank pairs all act on the product, kept as stacked factors.
"""

from collections.abc import Callable, Mapping

import numpy as np

from ..protocols.errors import ConfigError
from ..protocols.vectors import Floats
from . import factors
from .rewrites import written
from .steps import Kept, Optimizer, State, combined, got, named, put, stack, values

_COUNT = "|rounds"


def ema(beta: float = 0.9) -> Optimizer:
    r"""The exponential average of the models.

    .. math:: e_t = \beta e_{t-1} + (1 - \beta)\, x_t

    It starts at the first round's model.

    Source: Polyak and Juditsky, `Acceleration of Stochastic Approximation by Averaging
    <https://doi.org/10.1137/0330046>`_, 1992; Morales-Brotons et al., `Exponential
    Moving Average of Weights <https://arxiv.org/abs/2411.18704>`_, 2024.

    Raises:
        ConfigError: beta outside [0, 1).
    """
    if not 0 <= beta < 1:
        raise ConfigError(f"ema: beta is {beta}, allowed: 0 to below 1")
    return _averaging(
        written("ema", beta=beta), lambda rounds: beta if rounds > 1 else 0.0
    )


def swa(start: int = 1) -> Optimizer:
    """The mean of the models after each round, from a round on; before it, the model.

    Source: Izmailov et al., `Averaging Weights Leads to Wider Optima
    <https://arxiv.org/abs/1803.05407>`_, 2018, algorithm 1.

    Raises:
        ConfigError: a round before the first.
    """
    if start < 1:
        raise ConfigError(f"swa: start is {start}, allowed: 1 and above")
    return _averaging(
        written("swa", start=start),
        lambda rounds: 1 - 1 / max(rounds - start + 1, 1),
    )


def _averaging(text: str, keep: Callable[[int], float]) -> Optimizer:
    """The offset o = average - model: o <- keep (o - u)."""

    def step(
        update: Mapping[str, Floats], state: State
    ) -> tuple[dict[str, Floats], Kept]:
        rounds = int(state.get(_COUNT, np.zeros(1, np.int64))[0]) + 1
        kept: Kept = {_COUNT: np.array([rounds], np.int64)}
        times = keep(rounds)
        with factors.one_thread():
            for name, value in values(update):
                old = got(state, name, "offset")
                parts = [(value, -times)] + ([(old, times)] if old is not None else [])
                put(kept, name, "offset", combined(parts))
        return dict(update), kept

    def average(state: State) -> dict[str, Floats]:
        found: dict[str, Floats] = {}
        for key in sorted(state):
            name, _, slot = key.partition("|")
            value = got(state, name, "offset") if slot.startswith("offset") else None
            if value is not None:
                found |= named(name, value)
        return found

    return Optimizer(text, step, average=average)


def lookahead(every: int = 5, rate: float = 0.5) -> Optimizer:
    r"""Every k rounds go back part of the way to where the last k began.

    .. math:: \text{step} = u - (1 - \alpha) \sum_{i = t-k+1}^{t} u_i

    in rounds that k divides, u in the others.

    Source: Zhang et al., `Lookahead Optimizer <https://arxiv.org/abs/1907.08610>`_,
    2019, algorithm 1.

    Raises:
        ConfigError: fewer than 1 round, or a rate outside (0, 1].
    """
    if every < 1 or not 0 < rate <= 1:
        raise ConfigError(
            f"lookahead: every {every}, rate {rate}, allowed: every from 1, rate above "
            "0, at most 1"
        )

    def step(
        update: Mapping[str, Floats], state: State
    ) -> tuple[dict[str, Floats], Kept]:
        rounds = int(state.get(_COUNT, np.zeros(1, np.int64))[0]) + 1
        back = rate - 1 if rounds % every == 0 else 0.0
        sent: dict[str, Floats] = {}
        kept: Kept = {_COUNT: np.array([rounds], np.int64)}
        with factors.one_thread():
            for name, value in values(update):
                gone = got(state, name, "gone")
                far = value if gone is None else combined([(value, 1.0), (gone, 1.0)])
                if not back:
                    put(kept, name, "gone", far)
                parts = [(value, 1.0)] + ([(far, back)] if back else [])
                rest = got(state, name, "rest")
                parts += [(rest, 1.0)] if rest is not None else []
                if not isinstance(value, tuple):
                    sent |= named(name, combined(parts))
                    continue
                made = stack(parts, value[0].shape[1])
                sent |= named(name, (made.b, made.a))
                if isinstance(made.rest, tuple):
                    put(kept, name, "rest", made.rest)
        return sent, kept

    return Optimizer(written("lookahead", every=every, rate=rate), step, "stack")

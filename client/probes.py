"""How models behave on the same texts: losses on the way between them, hidden states.

Of two updates from one base the *barrier* is how far the loss on the straight line
between the models rises above the line between their losses: 0 where they lie in one
basin (Frankle et al., `Linear mode connectivity <https://arxiv.org/abs/1912.05671>`_,
2020). Hidden states are compared by linear CKA (Kornblith et al., `Similarity of neural
network representations <https://arxiv.org/abs/1905.00414>`_, 2019) and by what a code
for both models' states costs above codes for each alone: the rate of a Gaussian source
at a distortion, as in Yu et al., `Maximal coding rate reduction
<https://arxiv.org/abs/2006.08558>`_, 2020.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..aggregators import factors
from ..aggregators.base import Key
from ..aggregators.solos import solo
from ..aggregators.spaces import Arrival
from ..protocols.settings import Config
from ..protocols.vectors import Floats, TaskVector
from .data import Examples
from .evaluation import evaluate
from .models import Base
from .trials import trial

Update = Mapping[str, Floats]
States = npt.NDArray[np.float64]

POINTS = 5
"""Places on a segment where the loss is taken, its ends among them."""
DISTORTION = 0.5
"""Squared error, of the states' own variance, that a code may make."""
BATCH = 16
MOST = 128
"""Examples of its own that a client's probe takes at most."""
LOSS, BARRIER, CKA, RATE_GAP = (
    "probe_loss_",
    "probe_barrier",
    "probe_cka",
    "probe_rate_gap",
)
"""What a reply calls what a client measured."""


def barrier(
    base: Base, ends: tuple[Update, Update], examples: Examples, config: Config
) -> dict[str, Any]:
    """Losses on the segment between two models.

    Args:
        base: what both updates start from.
        ends: the two updates.
        examples: a probe.
        config: the run's.

    Returns:
        "losses" at `POINTS` places, and "barrier", at least 0.
    """
    losses: list[float] = []
    shares = np.linspace(0.0, 1.0, POINTS)
    for share in shares:
        with (
            trial(base, ends[0], float(1 - share)),
            trial(base, ends[1], float(share)),
        ):
            losses.append(evaluate(base, examples, config)["loss"])
    found = np.array(losses)
    line = (1 - shares) * found[0] + shares * found[-1]
    return {"losses": losses, "barrier": float(max(0.0, (found - line).max()))}


def own(
    base: Base,
    change: Update,
    start: Update,
    examples: Examples,
    config: Config,
) -> dict[str, float]:
    """How far a client's training took it from the model that it received.

    Measured where the data is; what it gives are numbers.

    Args:
        base: the model that was received.
        change: what training changed of what travels, by the reply's tensors.
        start: what the adapter began with.
        examples: the client's own, kept for validation.
        config: the client's.

    Returns:
        "probe_loss_0" to "probe_loss_100": the loss at `POINTS` places of the way from
        the received model to the trained one, in percent; "probe_barrier",
        "probe_cka" and "probe_rate_gap" between both models' hidden states.
    """
    space = "full" if config.train.mode == "full" else config.lora.space
    given = TaskVector.of(change)
    reply = Arrival("", given, 1, "", base.pairs(config), start)
    update = solo(reply, space, Key())
    some = examples.take(np.arange(min(len(examples), MOST)))
    told = barrier(base, ({}, update), some, config)
    before = states(base, some.texts, config)
    with trial(base, update):
        after = states(base, some.texts, config)
    with factors.one_thread():
        gap, alike = rate_gap(before, after), cka(before, after)
    step = 100 // (POINTS - 1)
    losses = {f"{LOSS}{step * at}": one for at, one in enumerate(told["losses"])}
    return losses | {BARRIER: told["barrier"], CKA: alike, RATE_GAP: gap}


def states(base: Base, texts: Sequence[str], config: Config) -> States:
    """[texts, hidden] mean last hidden states of the model as it is now."""
    import torch

    from .classification import tokenised

    body: Any = base.network.body
    rows = []
    with torch.inference_mode():
        for first in range(0, len(texts), BATCH):
            some = texts[first : first + BATCH]
            batch = tokenised(base.network.tokenizer, some, config.train.max_length)
            hidden = body(**batch, output_hidden_states=True).hidden_states[-1]
            mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
            rows.append(pooled.double().numpy())
    return np.concatenate(rows)


def cka(one: States, other: States) -> float:
    """Linear CKA of [n, d] states: 1 where they are alike up to rotation and scale.

    Example:
        >>> x = np.array([[1.0, 0], [0, 2], [3, 1]])
        >>> round(cka(x, 5 * x[:, ::-1]), 6)
        1.0
    """
    left, right = one - one.mean(0), other - other.mean(0)
    shared = float(np.square(left.T @ right).sum())
    own = np.linalg.norm(left.T @ left) * np.linalg.norm(right.T @ right)
    return shared / float(own) if own else 0.0


def rate_gap(one: States, other: States, distortion: float = DISTORTION) -> float:
    """Bits a text that a code for both models' states takes above codes for each.

    0 where both are alike; it grows as the states of the two leave each other's
    directions and places.

    Example:
        >>> x = np.eye(4)
        >>> rate_gap(x, x), rate_gap(x, 3 + x) > 0.1
        (0.0, True)
    """
    both = np.concatenate([one, other])
    scale = float(np.square(both - both.mean(0)).mean())
    if not scale:
        return 0.0
    error = distortion * scale
    apart = (_rate(one, error) + _rate(other, error)) / 2
    return max(0.0, _rate(both, error) - apart)


def _rate(given: States, error: float) -> float:
    """Bits a row of a Gaussian source with the rows' covariance, at a squared error."""
    left = given - given.mean(0)
    count, wide = left.shape
    gram = left @ left.T if count <= wide else left.T @ left
    values = np.linalg.eigvalsh(gram) / count
    return float(0.5 * np.log2(1 + np.clip(values, 0, None) / error).sum())


def divergence(found: Sequence[States]) -> dict[str, list[list[float]]]:
    """Tables of models, two by two: "cka" and "rate_gap", [K][K]."""
    count = len(found)
    alike, gaps = np.eye(count), np.zeros((count, count))
    with factors.one_thread():
        for one in range(count):
            for other in range(one):
                two = found[one], found[other]
                alike[one, other] = alike[other, one] = cka(*two)
                gaps[one, other] = gaps[other, one] = rate_gap(*two)
    return {"cka": alike.tolist(), "rate_gap": gaps.tolist()}

"""The recipes that every merging tool has: means, sums, TIES and DARE."""

from ..protocols.errors import ConfigError
from .base import Recipe, Reducer, Transform
from .compats import PEERS, drop_to, mergekit_agreed
from .rewrites import written
from .scopes import trim_vector
from .sums import agreed_mean, weighted_mean, weighted_sum
from .transforms import drop, scale, trim

SCOPES = ("tensor", "vector")


def fedavg() -> Recipe:
    r"""Mean by weight.

    .. math:: u = \sum_k w_k x_k, \qquad \sum_k w_k = 1

    What a member left out counts as 0, and lowers the mean. Negative weights and
    weights that add up to nothing are refused.

    Cost: one pass, O(K n); one number an element in the state. In products of R ranks
    together a QR of the stacked factors, O((out + in) R^2).

    Source: McMahan et al., `Communication-Efficient Learning of Deep Networks from
    Decentralized Data <https://arxiv.org/abs/1602.05629>`_, 2017, algorithm 1.
    """
    return Recipe("fedavg()", (), weighted_mean())


def task_arithmetic(gain: float = 1.0) -> Recipe:
    r"""Sum, times a gain; weights are taken as they are, negative ones too.

    .. math:: u = \lambda \sum_k w_k x_k

    So a weight of -1 takes a task away, and 1, 1, -1 complete an analogy. Every client
    of a round counts once, whatever its examples.

    Cost: as `fedavg`.

    Source: Ilharco et al., `Editing Models with Task Arithmetic
    <https://arxiv.org/abs/2212.04089>`_, 2023, section 2.
    """
    return Recipe(
        written("task_arithmetic", gain=gain), (), weighted_sum(), gained(gain)
    )


def ties(
    density: float = 0.2,
    gain: float = 1.0,
    election: str = "mass",
    scope: str = "tensor",
    compat: str = "",
) -> Recipe:
    r"""Trim, elect a sign by element, average what agrees.

    .. math:: \gamma = \mathrm{sgn} \sum_k w_k x_k, \qquad
              u = \lambda \frac{\sum_{\mathrm{sgn}(x_k) = \gamma} w_k x_k}
                               {\sum_{\mathrm{sgn}(x_k) = \gamma} w_k}

    over the trimmed x; with ``election="count"`` members vote by weight alone. Exact
    zeros are never kept and never vote; of equal magnitudes at the threshold those
    that come first are kept. Where signs cancel exactly none is elected and the
    element does not move. A trim below what a wire format kept already changes
    nothing.

    Cost: two passes over what came (a threshold a tensor, then the sums), O(K n); up
    and down, value and weight, two to four numbers an element in the state.

    Source: Yadav et al., `TIES-Merging <https://arxiv.org/abs/2306.01708>`_, 2023,
    section 3.

    Args:
        density: the share that is kept.
        gain: what the result is multiplied by.
        election: "mass" or "count".
        scope: trim each "tensor", or the whole "vector" as the paper's code does.
        compat: "mergekit", "peft" or "paper": as that code does it (see
            `fedelta.aggregators.compats`); needs the cohort.

    Raises:
        ConfigError: a knob outside what is allowed.
    """
    whole = {} if scope == SCOPES[0] else {"scope": scope}
    knobs = {"density": density, "gain": gain, "election": election}
    text = written("ties", **knobs, **whole, **given("mean", compat))
    if scope not in SCOPES:
        raise ConfigError(f"ties: scope is {scope!r}, allowed: tensor, vector")
    agreed(election)
    if known(compat, *PEERS):
        before, reducer = PEERS[compat](density, election)
        return Recipe(text, before, reducer, gained(gain))
    trimming = trim(density) if scope == SCOPES[0] else trim_vector(density)
    return Recipe(text, (trimming,), agreed(election), gained(gain))


def dare(
    density: float = 0.1, gain: float = 1.0, rescale: str = "mean", compat: str = ""
) -> Recipe:
    r"""Drop at random, rescale, average.

    .. math:: u = \lambda \sum_k w_k \frac{m_k \odot x_k}{d}, \qquad
              m_{kj} \sim \mathrm{Bernoulli}(d)

    The paper's p is the drop rate, 1 - d. Masks follow from run, round, client, tensor
    and place, so everybody can draw them again; where 1 / d is a whole number exactly
    one of so many neighbours is kept. Unbiased, with 1 / d - 1 times the square of
    every element as variance: over rounds, kept and dropped are dropped alike.

    Cost: one pass, O(K n); one number an element in the state, and the drawing of the
    masks.

    Source: Yu et al., `Language Models are Super Mario
    <https://arxiv.org/abs/2311.03099>`_, 2024, section 3.

    Args:
        density: the share that is kept.
        gain: what the result is multiplied by.
        rescale: "mean" by 1 / density (unbiased), "l1" to each tensor's old L1 norm
            (mergekit's default), "none".
        compat: "mergekit": rescale to the L1 norm, and add instead of averaging.

    Raises:
        ConfigError: a knob outside what is allowed.
    """
    text = written("dare", density=density, gain=gain, **given(rescale, compat))
    if known(compat, "mergekit"):
        return Recipe(text, (drop_to(density, "l1"),), weighted_sum(), gained(gain))
    return Recipe(text, (drop_to(density, rescale),), weighted_mean(), gained(gain))


def dare_ties(
    density: float = 0.1,
    gain: float = 1.0,
    election: str = "mass",
    trim_density: float = 1.0,
    compat: str = "",
) -> Recipe:
    r"""Drop at random, rescale, then TIES' election and mean.

    The x of `ties` are what `dare` makes of a change, ``m x / d``; what was dropped
    neither votes nor counts, so an element that one member alone kept is that member's.

    Cost: as `ties`, without the pass for thresholds unless it trims again.

    Source: Yu et al., 2024, as `dare` says; Yadav et al., 2023, as `ties` says.

    Args:
        density: the share that is kept.
        gain: what the result is multiplied by.
        election: "mass" or "count".
        trim_density: trim again after the drop, as the paper's code does; 1: no.
        compat: "mergekit": rescale to the L1 norm, and add what agrees.

    Raises:
        ConfigError: a knob outside what is allowed.
    """
    knobs = {"density": density, "gain": gain, "election": election}
    text = written(
        "dare_ties", **knobs, trim_density=trim_density, **given("mean", compat)
    )
    if known(compat, "mergekit"):
        reducer = mergekit_agreed(election, normalize=False)
        return Recipe(text, (drop_to(density, "l1"),), reducer, gained(gain))
    before: tuple[Transform, ...] = (drop(density),)
    if trim_density != 1:
        before += (trim(trim_density),)
    return Recipe(text, before, agreed(election), gained(gain))


def agreed(election: str) -> Reducer:
    """The agreed mean by an election's name.

    Raises:
        ConfigError: no such election.
    """
    if election == "count":
        return agreed_mean("count")
    if election == "mass":
        return agreed_mean("mass")
    raise ConfigError(f"election is {election!r}, allowed: mass, count")


def gained(gain: float) -> float:
    """Hold a gain to a finite number.

    Raises:
        ConfigError: it is none.
    """
    scale(gain)
    return gain


def given(rescale: str, compat: str) -> dict[str, object]:
    """The knobs that a text names only where they are not the defaults."""
    named: dict[str, object] = {"rescale": rescale} if rescale != "mean" else {}
    return named | ({"compat": compat} if compat else {})


def known(compat: str, *names: str) -> bool:
    """Whether another tool is to be followed.

    Raises:
        ConfigError: one that is not known here.
    """
    if compat and compat not in names:
        allowed = ", ".join(map(repr, names))
        raise ConfigError(f"compat is {compat!r}, allowed: {allowed} or left out")
    return bool(compat)

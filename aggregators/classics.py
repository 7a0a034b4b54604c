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
    """Mean by weight."""
    return Recipe("fedavg()", (), weighted_mean())


def task_arithmetic(gain: float = 1.0) -> Recipe:
    """Sum, times a gain; weights are taken as they are, negative ones too."""
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
    """Trim, elect a sign by element, average what agrees.

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
    """Drop at random, rescale, average.

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
    """Drop at random, rescale, then TIES' election and mean.

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

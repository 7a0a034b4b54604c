"""Names to recipes: the only registry."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..protocols.errors import ConfigError
from ..protocols.grammar import bind, parse
from .base import Recipe, Transform
from .grouped import grouped
from .sums import agreed_mean, weighted_mean, weighted_sum
from .transforms import clip, drop, scale, trim

SPACES = ("product", "factors", "full")


@dataclass(frozen=True, slots=True)
class Method:
    """What a recipe's name stands for.

    Attributes:
        make: its factory.
        summary: one line.
        source: the paper.
        linear: the update is a weighted sum of what clients send.
    """

    make: Callable[..., Recipe]
    summary: str
    source: str
    linear: bool


@dataclass(frozen=True, slots=True)
class Properties:
    """What holds for a recipe in a space.

    Attributes:
        family: "sum": states add and have a fixed size; "cohort": a state holds what
            every client sent.
        tree: a tree of servers reaches the flat result, bit for bit.
        maskable: clients can add what is summed under masks.
        linear: merged by stacked factors, without the dense matrix.
    """

    family: str
    tree: bool
    maskable: bool
    linear: bool


def fedavg() -> Recipe:
    """Mean by weight."""
    return Recipe("fedavg()", (), weighted_mean())


def task_arithmetic(gain: float = 1.0) -> Recipe:
    """Sum, times a gain; weights are taken as they are."""
    finite = scale(gain)
    text = f"task_arithmetic(gain={gain!r})" if finite else ""
    return Recipe(text, (), weighted_sum(), gain)


def ties(
    density: float = 0.2,
    gain: float = 1.0,
    election: str = "mass",
    scope: str = "tensor",
) -> Recipe:
    """Trim each tensor, elect a sign by element, average what agrees."""
    if scope != "tensor":
        raise ConfigError(f"ties: scope is {scope!r}, allowed: tensor")
    text = f"ties(density={density!r}, gain={gain!r}, election={election!r})"
    return Recipe(text, (trim(density),), _agreed(election), _gain(gain))


def dare(density: float = 0.1, gain: float = 1.0) -> Recipe:
    """Drop at random, rescale by 1 / density, average."""
    text = f"dare(density={density!r}, gain={gain!r})"
    return Recipe(text, (drop(density),), weighted_mean(), _gain(gain))


def dare_ties(
    density: float = 0.1,
    gain: float = 1.0,
    election: str = "mass",
    trim_density: float = 1.0,
) -> Recipe:
    """Drop at random, rescale, then TIES' election and mean (no trim unless asked)."""
    text = (
        f"dare_ties(density={density!r}, gain={gain!r}, election={election!r}, "
        f"trim_density={trim_density!r})"
    )
    before: tuple[Transform, ...] = (drop(density),)
    if trim_density != 1:
        before += (trim(trim_density),)
    return Recipe(text, before, _agreed(election), _gain(gain))


def chain(*parts: Any) -> Recipe:
    """Transforms, then one recipe, then scales: ``clip(1.0) | ties() | scale(0.5)``.

    Raises:
        ConfigError: no recipe or more than one, or something else after it.
    """
    recipes = [place for place, one in enumerate(parts) if isinstance(one, Recipe)]
    if len(recipes) != 1:
        raise ConfigError(f"a chain holds exactly one recipe, not {len(recipes)}")
    before, after = parts[: recipes[0]], parts[recipes[0] + 1 :]
    core: Recipe = parts[recipes[0]]
    texts = [_text(one) for one in parts]
    gain = core.gain
    for one in after:
        if not one.text.startswith("scale("):
            raise ConfigError(f"only scale(...) may follow a recipe, not {one.text}")
        gain *= one.factor(1.0)
    if core.outer is not None and after:
        raise ConfigError("give the scale to grouped's outer recipe")
    first = tuple(before) + core.before
    return replace(core, text=" | ".join(texts), before=first, gain=gain)


METHODS: dict[str, Method] = {
    "fedavg": Method(fedavg, "mean by weight", "arXiv:1602.05629", linear=True),
    "task_arithmetic": Method(
        task_arithmetic, "sum times a gain", "arXiv:2212.04089", linear=True
    ),
    "ties": Method(
        ties, "trim, elect signs, mean of what agrees", "arXiv:2306.01708", linear=False
    ),
    "dare": Method(
        dare, "drop at random, rescale, mean", "arXiv:2311.03099", linear=False
    ),
    "dare_ties": Method(
        dare_ties,
        "drop and rescale, elect signs, mean",
        "arXiv:2311.03099",
        linear=False,
    ),
    "grouped": Method(
        grouped, "merge within regions, then between them", "", linear=False
    ),
}
TRANSFORMS: dict[str, Callable[..., Transform]] = {
    "clip": clip,
    "drop": drop,
    "scale": scale,
    "trim": trim,
}


def recipe(text: str) -> Recipe:
    """Read a recipe's text.

    Raises:
        ConfigError: it does not parse, or names what there is not.

    Example:
        >>> recipe("ties(density=0.3)").reducer.text
        'agreed_mean(mass)'
        >>> recipe("clip(1.0) | fedavg").linear
        True
    """
    known: dict[str, Callable[..., Any]] = {n: m.make for n, m in METHODS.items()}
    made = bind(parse(text), known | TRANSFORMS | {"chain": chain, "pipe": chain})
    if isinstance(made, Transform):
        raise ConfigError(
            f"{text} is a transform: follow it by a recipe, {text} | fedavg"
        )
    if not isinstance(made, Recipe):
        raise ConfigError(f"{text} is no recipe; allowed: {', '.join(sorted(METHODS))}")
    return made


def properties(given: Recipe, space: str) -> Properties:
    """What holds for a recipe in a space.

    Raises:
        ConfigError: no such space.
    """
    if space not in SPACES:
        raise ConfigError(f"space is {space!r}, allowed: {', '.join(SPACES)}")
    stacked = space == "product" and given.linear
    maskable = space != "product" and given.outer is None
    return Properties(
        family="cohort" if stacked else "sum",
        tree=True,
        maskable=maskable,
        linear=stacked,
    )


def describe() -> list[dict[str, Any]]:
    """Every recipe with its knobs and what holds in which space, JSON-able."""
    listed = []
    for name, method in METHODS.items():
        sample = grouped(fedavg(), ties()) if name == "grouped" else method.make()
        knobs = inspect.signature(method.make).parameters.values()
        spaces = {}
        for space in SPACES:
            held = properties(sample, space)
            spaces[space] = {
                "family": held.family,
                "tree": held.tree,
                "maskable": held.maskable,
                "linear": held.linear,
            }
        listed.append(
            {
                "name": name,
                "summary": method.summary,
                "source": method.source,
                "knobs": {
                    one.name: None if one.default is one.empty else one.default
                    for one in knobs
                },
                "spaces": spaces,
            }
        )
    return listed


def _agreed(election: str) -> Any:
    if election == "count":
        return agreed_mean("count")
    if election == "mass":
        return agreed_mean("mass")
    raise ConfigError(f"election is {election!r}, allowed: mass, count")


def _gain(gain: float) -> float:
    scale(gain)
    return gain


def _text(part: Any) -> str:
    if isinstance(part, Recipe | Transform):
        return part.text
    raise ConfigError(f"a chain holds transforms and one recipe, not {part!r}")

"""Names to recipes: the only registry."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..protocols.errors import ConfigError
from ..protocols.grammar import bind, parse
from .base import SPACES, Recipe, Transform
from .classics import dare, dare_ties, fedavg, task_arithmetic, ties
from .depths import lines
from .grouped import grouped
from .importances import fisher
from .magnitudes import breadcrumbs, breadcrumbs_ties, crumbs, della, sample
from .scopes import trim_vector
from .signs import min_agree, sign_vote
from .transforms import clip, drop, scale, trim

__all__ = [
    "METHODS",
    "SPACES",
    "Method",
    "Properties",
    "chain",
    "describe",
    "properties",
    "recipe",
]


@dataclass(frozen=True, slots=True)
class Method:
    """What a recipe's name stands for.

    Attributes:
        make: its factory.
        summary: one line.
        source: the paper, on arXiv.
    """

    make: Callable[..., Recipe]
    summary: str
    source: str


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


def chain(*parts: Any) -> Recipe:
    """Transforms, one recipe, then scalings: ``clip(1.0) | ties() | lines()``.

    Raises:
        ConfigError: no recipe or more than one, or something else after it.
    """
    recipes = [place for place, one in enumerate(parts) if isinstance(one, Recipe)]
    if len(recipes) != 1:
        raise ConfigError(f"a chain holds exactly one recipe, not {len(recipes)}")
    before, after = parts[: recipes[0]], parts[recipes[0] + 1 :]
    core: Recipe = parts[recipes[0]]
    texts = [_text(one) for one in parts]
    for one in after:
        if not one.text.startswith(("scale(", "lines(")):
            raise ConfigError(
                f"only scale(...) and lines(...) may follow a recipe, not {one.text}"
            )
        if core.outer is not None:
            raise ConfigError("give what follows to grouped's outer recipe")
        if one.factor is not None and not core.after:
            core = replace(core, gain=core.gain * one.factor(1.0))
        else:
            core = replace(core, after=(*core.after, one))
    return replace(core, text=" | ".join(texts), before=(*before, *core.before))


METHODS: dict[str, Method] = {
    "fedavg": Method(fedavg, "mean by weight", "1602.05629"),
    "task_arithmetic": Method(task_arithmetic, "sum times a gain", "2212.04089"),
    "ties": Method(ties, "trim, elect signs, mean of what agrees", "2306.01708"),
    "dare": Method(dare, "drop at random, rescale, mean", "2311.03099"),
    "dare_ties": Method(dare_ties, "drop and rescale, elect, mean", "2311.03099"),
    "della": Method(della, "sample by magnitude, elect, mean", "2406.11617"),
    "breadcrumbs": Method(breadcrumbs, "drop outliers and dust, mean", "2312.06795"),
    "breadcrumbs_ties": Method(breadcrumbs_ties, "the same, elect, mean", "2312.06795"),
    "min_agree": Method(min_agree, "mean where enough members agree", "2306.01708"),
    "sign_vote": Method(sign_vote, "mean, damped where signs disagree", "2201.11986"),
    "fisher": Method(fisher, "mean by diagonal Fisher information", "2111.09832"),
    "grouped": Method(grouped, "merge within regions, then between them", ""),
}
TRANSFORMS: dict[str, Callable[..., Transform]] = {
    "clip": clip,
    "crumbs": crumbs,
    "drop": drop,
    "lines": lines,
    "sample": sample,
    "scale": scale,
    "trim": trim,
    "trim_vector": trim_vector,
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
        ConfigError: no such space, or one where the recipe means nothing.
    """
    if space not in SPACES:
        raise ConfigError(f"space is {space!r}, allowed: {', '.join(SPACES)}")
    for one in (given, given.outer):
        if one is not None and space not in one.spaces:
            allowed = ", ".join(one.spaces)
            raise ConfigError(f"{one.text} merges in {allowed}, not in {space}")
    stacked = space == "product" and given.linear
    summed = given.reducer.cohort is None
    maskable = space != "product" and given.outer is None and summed
    return Properties(
        family="sum" if summed and not stacked else "cohort",
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
        for space in sample.spaces:
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
                "source": f"arXiv:{method.source}" if method.source else "",
                "knobs": {
                    one.name: None if one.default is one.empty else one.default
                    for one in knobs
                },
                "spaces": spaces,
            }
        )
    return listed


def _text(part: Any) -> str:
    if isinstance(part, Recipe | Transform):
        return part.text
    raise ConfigError(f"a chain holds transforms and one recipe, not {part!r}")

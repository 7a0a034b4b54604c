"""A merge of merges: one recipe within each group, another among the groups."""

from dataclasses import replace

from ..protocols.errors import ConfigError
from .base import Recipe

BY = ("region",)


def grouped(inner: Recipe, outer: Recipe, by: str = "region") -> Recipe:
    r"""Merge each group by one recipe and the results by another.

    .. math:: u = \mathrm{outer}(\{(W_g, u_g)\}_g), \qquad
              u_g = \mathrm{inner}(\{x_k\}_{k \in g}), \quad W_g = \sum_{k \in g} w_k

    A group counts for what its members do together; each counts once where the outer
    recipe adds. This is another algorithm than a tree of servers that hand states up,
    which changes nothing. It is itself a reducer: its state is one state a group. A
    group of which nobody came is not there; one group alone is merged by both recipes.

    Cost: a state a group, and one more merge, whose every pass makes the groups' anew;
    O(K n) where both recipes are.

    Source: none of its own; the two recipes' hold.

    Args:
        inner: within a group, say ``fedavg()``.
        outer: among the groups, say ``ties(density=0.2)``.
        by: what makes a group; "region".

    Raises:
        ConfigError: another `by`, or a grouped recipe inside.
    """
    for one in (inner, outer):
        if not isinstance(one, Recipe):
            raise ConfigError(f"grouped takes two recipes, not {one!r}")
    if by not in BY:
        raise ConfigError(f"grouped: by is {by!r}, allowed: region")
    if inner.outer is not None or outer.outer is not None:
        raise ConfigError("grouped: a grouped recipe cannot stand inside another one")
    text = f"grouped({inner.text}, {outer.text}, by={by!r})"
    return replace(inner, text=text, outer=outer, by=by)

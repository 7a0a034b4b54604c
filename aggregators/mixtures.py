"""Weighted sums of products: what a linear recipe makes of stacked factors."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..protocols.vectors import Contribution
from .base import Recipe
from .products import Subset
from .products import length as product_length
from .scales import Numbers
from .tallies import Stack
from .transforms import length
from .transforms import scaled as times


def view(
    recipe: Recipe,
    contribution: Contribution,
    held: Mapping[str, Stack],
    names: Sequence[str],
) -> tuple[Contribution, float]:
    """A reply's whole tensors, scaled as the recipe's transforms scale the reply.

    The norm that a clip looks at is that of the products and the whole tensors
    together, so rescaling factors inside a product changes nothing.

    Returns:
        The whole tensors, and the number that the products are to be scaled by.
    """
    rest = Subset(contribution, names)
    gain = 1.0
    if recipe.before:
        norm = (product_length(held) ** 2 + length(rest) ** 2) ** 0.5
        for transform in recipe.before:
            factor = transform.factor(norm * abs(gain)) if transform.factor else 1.0
            gain *= factor
    return times(rest, gain), gain


def scaled(held: Mapping[str, Stack], gain: float) -> dict[str, Stack]:
    """Products times a number."""
    return {w: replace(one, scaling=one.scaling * gain) for w, one in held.items()}


def coefficients(
    recipe: Recipe, numbers: Numbers, members: Mapping[str, str]
) -> dict[str, float]:
    """By member, what its products are multiplied by in a linear merge.

    Args:
        recipe: linear.
        numbers: the shares.
        members: by member, its group.

    Example:
        >>> from fedelta.aggregators.recipes import recipe
        >>> numbers = Numbers((), {"a": 1, "b": 3})
        >>> coefficients(recipe("fedavg"), numbers, {"a": "", "b": ""})
        {'a': 0.25, 'b': 0.75}
    """
    shares = {name: numbers.shares[name] for name in members}
    if recipe.outer is None:
        return _weights(recipe, shares)
    groups: dict[str, dict[str, int]] = defaultdict(dict)
    for name, group in members.items():
        groups[group][name] = shares[name]
    adds = recipe.outer.reducer.adds
    sums = {g: 1 if adds else sum(inside.values()) for g, inside in groups.items()}
    outer = _weights(recipe.outer, sums)
    return {
        name: weight * outer[group]
        for group, inside in groups.items()
        for name, weight in _weights(recipe, inside).items()
    }


def mixed(
    recipe: Recipe,
    numbers: Numbers,
    members: Mapping[str, str],
    held: Mapping[str, Mapping[str, Stack]],
) -> dict[str, list[Stack]]:
    """By weight, all members' products in name order, each times its coefficient.

    Where the recipe's rule works on factors, one product: what it makes of all.
    """
    if recipe.reducer.cored is not None:
        return _cored(recipe, members, held)
    weights = coefficients(recipe, numbers, members)
    parts: dict[str, list[Stack]] = defaultdict(list)
    for name in sorted(held):
        for weight, one in scaled(held[name], weights[name]).items():
            parts[weight].append(one)
    return dict(parts)


def _cored(
    recipe: Recipe, members: Mapping[str, str], held: Mapping[str, Mapping[str, Stack]]
) -> dict[str, list[Stack]]:
    rule = recipe.reducer.cored
    shapes = {
        weight: (one.b.shape[0], one.a.shape[1])
        for name in sorted(held)
        for weight, one in held[name].items()
    }
    made: dict[str, list[Stack]] = {}
    for weight, (wide, deep) in sorted(shapes.items()):
        none = Stack(
            np.zeros((wide, 0), np.float32), np.zeros((0, deep), np.float32), 1
        )
        given = [held.get(name, {}).get(weight, none) for name in sorted(members)]
        pairs = [(x.scaling * x.b.astype(float), x.a.astype(float)) for x in given]
        b, a = rule(pairs) if rule is not None else pairs[0]
        found = Stack(b.astype(np.float32), a.astype(np.float32), recipe.gain)
        made[weight] = [found]
    return made


def _weights(recipe: Recipe, shares: Mapping[str, int]) -> dict[str, float]:
    total = 1 if recipe.reducer.adds else max(1, sum(shares.values()))
    return {name: recipe.gain * share / total for name, share in shares.items()}

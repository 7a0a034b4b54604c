"""How far one client can move the sums that noise is added to.

With x what a client's change counts with, of L2 norm at most C, and one client more
or less (add/remove):

* a sum of x moves by at most C;
* up = max(x, 0) and down = max(-x, 0) taken together have x's own norm, because in
  every element one of them is 0: TIES's two sums move by at most C together;
* counts of who pushes up and down, each counted as l, move by l in as many elements
  as x has other than 0: with at most k of them, by at most l sqrt(k) together.

So values and counts together move by at most sqrt(C^2 + l^2 k). docs/privacy.md has the
proof, and the tests the brute force.
"""

import math

from ..protocols.errors import ConfigError
from ..protocols.grammar import parse
from ..protocols.vectors import Layout
from .base import Recipe
from .furthers import wanted

SUM, AGREED = "sum", ("mass", "count")


def bound(clip: float, counts: float = 0.0, support: int = 0) -> float:
    """The L2 sensitivity of what is released from one round.

    Args:
        clip: C.
        counts: l, what one count counts for; 0: no counts are released.
        support: k, the most elements that one client has other than 0.

    Example:
        >>> bound(3.0), bound(3.0, 0.5, 64)
        (3.0, 5.0)
    """
    return math.sqrt(clip * clip + counts * counts * support)


def support(recipe: Recipe, layout: Layout) -> int:
    """The most elements that a contribution has other than 0 after a recipe's trim.

    Example:
        >>> from fedelta.aggregators.recipes import recipe
        >>> support(recipe("ties(density=0.3)"), Layout.of({"a": (5,), "b": (10,)}))
        5
    """
    density = 1.0
    for one in recipe.before:
        if one.text.startswith("trim("):
            density = min(density, float(parse(one.text).args[0]))  # type: ignore[arg-type]
    return sum(min(size, math.ceil(density * size)) for size in layout.sizes)


def check(recipe: Recipe, counts: float = 0.0) -> None:
    """See that a recipe's sums have a bounded sensitivity.

    Raises:
        ConfigError: they do not; the message says what does.

    Example:
        >>> from fedelta.aggregators.recipes import recipe
        >>> check(recipe("median"))
        Traceback (most recent call last):
        fedelta.protocols.errors.ConfigError: median(gain=1.0) has no bound on what a \
client does to it: take fedavg() or ties()
    """
    take = "take fedavg() or ties()"
    if wanted(recipe):
        raise ConfigError(
            f"{recipe.text} has clients send statistics of their data, which no clip "
            f"bounds: {take}"
        )
    if recipe.outer is not None or recipe.reducer.cohort is not None:
        raise ConfigError(
            f"{recipe.text} has no bound on what a client does to it: {take}"
        )
    loop = recipe.reducer.loop
    if recipe.after or loop not in (SUM, *AGREED):
        raise ConfigError(
            f"{recipe.text} is not read off noisy sums of clipped changes: {take}"
        )
    if loop == "count" and not counts:
        raise ConfigError(
            f"{recipe.text} elects by counts: set privacy.counts above 0, or elect by "
            'mass: ties(election="mass")'
        )

"""One contribution by itself, as an update that can be folded."""

from dataclasses import replace

from ..protocols.vectors import Floats
from .base import Key
from .furthers import is_further
from .products import Subset
from .recipes import recipe
from .spaces import Arrival, merge_round


def solo(arrival: Arrival, space: str, key: Key) -> dict[str, Floats]:
    """What a client's own model changed, as a merge of it alone would.

    Args:
        arrival: its reply; what it measured beside its change is left out.
        space: the run's.
        key: the run and round.

    Returns:
        Factors by module (scaling 1) and dense changes by name.

    Example:
        >>> import numpy as np
        >>> from fedelta.protocols.vectors import TaskVector
        >>> own = Arrival("a", TaskVector.of({"w": np.float32([1, 2])}), 7)
        >>> solo(own, "full", Key())["w"].tolist()
        [1.0, 2.0]
    """
    given = arrival.contribution
    names = [name for name in given.layout.names if not is_further(name)]
    if len(names) < len(given.layout.names):
        arrival = replace(arrival, contribution=Subset(given, names))
    return merge_round(recipe("fedavg()"), space, [arrival], key=key).update

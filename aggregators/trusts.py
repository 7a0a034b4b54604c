"""Trust from a probe: a member with public data says which way is up."""

from collections.abc import Sequence

import numpy as np

from ..protocols.errors import QuorumError
from ..protocols.vectors import Contribution
from .base import Key, Member, Recipe, Reducer
from .classics import gained
from .cohorts import Mixture, Reals, gathered, grams
from .rewrites import written


def trust(gram: Reals, probe: int) -> Reals:
    r"""[K] what members count for by their angle with the probe, rescaled to its norm.

    .. math:: t_k = \max(0, \cos(x_k, x_0)), \qquad
              w_k = \frac{t_k}{\sum_j t_j} \frac{\|x_0\|}{\|x_k\|}

    The probe x_0 itself counts for nothing. Nobody is trusted: all weights are 0.

    Args:
        gram: [K, K] inner products of the members.
        probe: the probe's place.

    Source: Cao, Fang, Liu, Gong, `FLTrust <https://arxiv.org/abs/2012.13995>`_, 2021,
    algorithm 2.

    Example:
        >>> trust(np.array([[4.0, 2.0, -2.0], [2.0, 1.0, 0.0], [-2.0, 0.0, 9.0]]), 0)
        array([0., 2., 0.])
    """
    norms = np.sqrt(np.maximum(np.diag(gram), 0.0))
    whole = norms * norms[probe]
    cosines = np.divide(gram[probe], whole, out=np.zeros_like(whole), where=whole > 0)
    scores = np.maximum(cosines, 0.0)
    scores[probe] = 0.0
    total = float(scores.sum())
    if not total:
        return np.zeros_like(scores)
    long = np.divide(norms[probe], norms, out=np.zeros_like(norms), where=norms > 0)
    weights: Reals = scores / total * long
    return weights


def trusted_mean(probe: str = "") -> Reducer:
    """The mean of what points the probe's way, at the probe's norm: see `trust`.

    Cost: the statistics pass, and one over those that are trusted.
    """

    def merge(members: Sequence[Member], key: Key) -> Contribution:  # noqa: ARG001
        names = [one.name for one in members]
        if probe and probe not in names:
            raise QuorumError(f"fltrust: the probe {probe!r} did not reply")
        found = grams(members)
        weights = trust(found.sum(0), names.index(probe) if probe else 0)
        return Mixture(members, np.repeat(weights[np.newaxis], len(found), 0))

    return gathered(f"trusted_mean({probe!r})", merge)


def fltrust(probe: str = "", gain: float = 1.0) -> Recipe:
    """The mean by trust, which a probe gives (see `trust`); claimed weights are unused.

    Cost: two passes (inner products, then the sum), O(K^2 n); K spans in float64.

    Args:
        probe: a member's name: one that trains on a small public set, the coordinator
            itself as a rule. Empty: the first by name.
        gain: what the result is multiplied by.

    Source: Cao et al., 2021, as `trust` says.
    """
    knobs = {"probe": probe, "gain": gain}
    return Recipe(written("fltrust", **knobs), (), trusted_mean(probe), gained(gain))

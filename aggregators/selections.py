"""Robust rules that look at distances between members.

Distances follow from the Gram matrix of one statistics pass over the whole vector, so
each rule is a weighted sum of members, or a rule by element over such sums. Weights
that members claim are not used (one of 0 is left out); what a member left out counts
as 0. f is how many members may be hostile.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ..protocols import seeds
from ..protocols.errors import ConfigError, QuorumError
from ..protocols.vectors import Contribution
from .base import Key, Member, Recipe, Reducer
from .classics import gained
from .cohorts import Mixture, Reals, Rows, by_grams, gathered, grams
from .medians import median, nearest_mean
from .rewrites import written

Order = npt.NDArray[np.int64]


def distances(gram: Reals) -> Reals:
    """[K, K] squared distances from a Gram matrix.

    Example:
        >>> distances(np.array([[5.0, 3.0], [3.0, 9.0]])).tolist()
        [[0.0, 8.0], [8.0, 0.0]]
    """
    own = np.diag(gram)
    return np.maximum(own[:, np.newaxis] + own - 2 * gram, 0.0)


def scores(gram: Reals, hostile: int) -> Reals:
    """[K] by member the sum of the squared distances to its K - f - 2 nearest others.

    Source: Blanchard et al., `Machine Learning with Adversaries
    <https://arxiv.org/abs/1703.02757>`_, 2017, section 4.

    Raises:
        QuorumError: fewer than f + 3 members.
    """
    count = len(gram)
    near = count - hostile - 2
    if near < 1:
        raise QuorumError(
            f"{count} members: f = {hostile} needs at least {hostile + 3}"
        )
    far = distances(gram)
    np.fill_diagonal(far, np.inf)
    out: Reals = np.sort(far, axis=1)[:, :near].sum(1)
    return out


def chosen(count: int, hostile: int) -> Reducer:
    r"""The mean of the m members with the least Krum scores; ties by name.

    .. math:: s(k) = \sum_{j \in N_k} \|x_k - x_j\|^2, \qquad
              u = \frac1m \sum_{k \in \arg\min_m s} x_k

    where N_k are the K - f - 2 nearest others. m = 1 is Krum.

    Args:
        count: m; 0: K - f.
        hostile: f; the guarantee needs K > 2 f + 2.

    Cost: K^2 / 2 products a coordinate in the statistics pass.

    Source: Blanchard et al., `Machine Learning with Adversaries
    <https://arxiv.org/abs/1703.02757>`_, 2017, section 4.
    """

    def weigh(gram: Reals, given: Reals, key: Key) -> Reals:  # noqa: ARG001
        order = np.argsort(scores(gram, hostile), kind="stable")
        kept = order[: count or len(gram) - hostile]
        weights = np.zeros((1, len(gram)))
        weights[0, kept] = 1 / len(kept)
        return weights

    return by_grams(f"chosen({count}, {hostile})", weigh)


def selected(gram: Reals, hostile: int) -> Order:
    """Bulyan's selection: K - 2 f members, each time the best of those left by Krum.

    Raises:
        QuorumError: fewer than 4 f + 3 members.
    """
    count = len(gram)
    if count < 4 * hostile + 3:
        needed = 4 * hostile + 3
        raise QuorumError(f"{count} members: f = {hostile} needs at least {needed}")
    left = list(range(count))
    taken = []
    for _ in range(count - 2 * hostile):
        part = gram[np.ix_(left, left)]
        near = len(left) - hostile - 2
        best = int(np.argmin(scores(part, hostile))) if near > 0 else 0
        taken.append(left.pop(best))
    return np.array(sorted(taken))


def bulyan_mean(hostile: int) -> Reducer:
    """Krum picks K - 2 f members; by element, the mean of those near the median.

    Of the picked ones the K - 4 f values nearest to their median are averaged.

    Source: El Mhamdi, Guerraoui, Rouault, `The Hidden Vulnerability of Distributed
    Learning in Byzantium <https://arxiv.org/abs/1802.07927>`_, 2018, section 4.
    """

    def merge(members: Sequence[Member], key: Key) -> Contribution:  # noqa: ARG001
        picked = selected(grams(members).sum(0), hostile)
        kept = [members[place] for place in picked.tolist()]

        def rule(values: Reals, given: Reals) -> Reals:  # noqa: ARG001
            return nearest_mean(values, len(values) - 2 * hostile)

        return Rows(kept, rule)

    return gathered(f"bulyan_mean({hostile})", merge)


def mixing(text: str, weigh: Callable[[Reals, Key], Reals], inner: Reducer) -> Reducer:
    """A rule over mixtures of the members in their place.

    Args:
        text: how it is called.
        weigh: from the Gram matrix to the mixtures' weights [M, K].
        inner: the rule; it sees M members of share 1.
    """

    def merge(members: Sequence[Member], key: Key) -> Contribution:
        found = grams(members)
        rows = weigh(found.sum(0), key)
        layers = len(found)
        mixed = [
            Member(f"{at:06d}", Mixture(members, np.repeat(row[np.newaxis], layers, 0)))
            for at, row in enumerate(rows)
        ]
        return over(inner, mixed, key)

    return gathered(text, merge)


def over(inner: Reducer, members: Sequence[Member], key: Key) -> Contribution:
    """A rule over members that count once each; a reducer that adds is a mean here."""
    if inner.cohort is not None:
        return inner.cohort(members, key)
    count = len(members)
    layers = len(members[0].contribution.layout.names)
    return Mixture(members, np.full((layers, count), 1 / count))


def neighbours(gram: Reals, hostile: int) -> Reals:
    """[K, K] by member, 1 / (K - f) for itself and its nearest others; ties by name.

    Raises:
        QuorumError: not more than f members.
    """
    count = len(gram)
    near = count - hostile
    if near < 1:
        raise QuorumError(
            f"{count} members: f = {hostile} needs at least {hostile + 1}"
        )
    far = distances(gram)
    np.fill_diagonal(far, -1.0)
    weights = np.zeros((count, count))
    order = np.argsort(far, axis=1, kind="stable")[:, :near]
    np.put_along_axis(weights, order, 1 / near, axis=1)
    return weights


def buckets(count: int, size: int, key: Key) -> Reals:
    """[ceil(K / s), K] the means of s members at a time, in a keyed order."""
    order = seeds.permutation(key.of("").seed("buckets"), count)
    weights = np.zeros((-(-count // size), count))
    for row in range(len(weights)):
        part = order[row * size : (row + 1) * size]
        weights[row, part] = 1 / len(part)
    return weights


def counted(hostile: int, what: str) -> int:
    """Hold f to a number of members.

    Raises:
        ConfigError: below 0.
    """
    if hostile < 0:
        raise ConfigError(f"{what}: hostile is {hostile}, allowed: 0 and above")
    return hostile


def krum(hostile: int = 1, gain: float = 1.0) -> Recipe:
    """The member nearest to its neighbours (see `chosen`).

    Cost: one pass for inner products, O(K^2 n), one over whom it takes; K spans in
    float64.

    Source: Blanchard et al., 2017, as `chosen` says.
    """
    reducer = chosen(1, counted(hostile, "krum"))
    return Recipe(
        written("krum", hostile=hostile, gain=gain), (), reducer, gained(gain)
    )


def multi_krum(hostile: int = 1, count: int = 0, gain: float = 1.0) -> Recipe:
    """The mean of the members with the least Krum scores (see `chosen`).

    Cost: as `krum`.

    Source: Blanchard et al., 2017, as `chosen` says.
    """
    text = written("multi_krum", hostile=hostile, count=count, gain=gain)
    reducer = chosen(counted(count, "multi_krum"), counted(hostile, "multi_krum"))
    return Recipe(text, (), reducer, gained(gain))


def bulyan(hostile: int = 1, gain: float = 1.0) -> Recipe:
    """Krum's selection, then a trimmed mean by element (see `bulyan_mean`).

    Cost: one pass for inner products, O(K^2 n), scores in O(K^3 log K), one pass to
    sort what was picked, O(n K log K); K spans in float64.

    Source: El Mhamdi et al., 2018, as `bulyan_mean` says.
    """
    text = written("bulyan", hostile=hostile, gain=gain)
    return Recipe(text, (), bulyan_mean(counted(hostile, "bulyan")), gained(gain))


def nnm(inner: Recipe | None = None, hostile: int = 1) -> Recipe:
    """Replace every member by the mean of its K - f nearest, then a robust rule.

    Cost: one pass for inner products; in each of the inner rule's a member is read
    K - f times on average, O(K^2 n); K spans in float64.

    Args:
        inner: the rule, "median" where left out; its own transforms come first.
        hostile: f.

    Source: Allouah et al., `Fixing by Mixing <https://arxiv.org/abs/2302.01772>`_,
    2023, algorithm 2.
    """
    rule = _rule(inner)
    text = f"nnm({rule.text}, hostile={counted(hostile, 'nnm')})"
    reducer = mixing(text, lambda gram, key: neighbours(gram, hostile), rule.reducer)  # noqa: ARG005
    return Recipe(text, rule.before, reducer, rule.gain, after=rule.after)


def bucketing(inner: Recipe | None = None, size: int = 2) -> Recipe:
    """Average members s at a time in a keyed order, then a robust rule.

    Cost: one pass for inner products, O(K^2 n), then the inner rule's over K / s means;
    K spans in float64.

    Args:
        inner: the rule, "median" where left out; its own transforms come first.
        size: s.

    Source: Karimireddy, He, Jaggi, `Byzantine-Robust Learning on Heterogeneous Datasets
    via Bucketing <https://arxiv.org/abs/2006.09365>`_, 2022, algorithm 1.
    """
    rule = _rule(inner)
    if size < 1:
        raise ConfigError(f"bucketing: size is {size}, allowed: 1 and above")
    text = f"bucketing({rule.text}, size={size})"
    reducer = mixing(
        text, lambda gram, key: buckets(len(gram), size, key), rule.reducer
    )
    return Recipe(text, rule.before, reducer, rule.gain, after=rule.after)


def _rule(inner: Recipe | None) -> Recipe:
    rule = median() if inner is None else inner
    mean = rule.reducer.linear and not rule.reducer.adds
    if rule.outer is not None or not (mean or rule.reducer.cohort):
        raise ConfigError(
            f"{rule.text} is no robust rule: say median, krum, fedavg ..."
        )
    return rule

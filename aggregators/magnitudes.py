"""Sparsifiers that look at how a magnitude ranks, and the recipes around them."""

import math

import numpy as np
import numpy.typing as npt

from ..protocols import seeds
from ..protocols.errors import ConfigError
from ..protocols.vectors import Floats
from .base import Key, Recipe, Transform
from .classics import agreed, gained, given, known
from .compats import mergekit_agreed, to_l1
from .rewrites import rewriting, written
from .sums import weighted_mean, weighted_sum
from .transforms import fraction

Masks = npt.NDArray[np.bool_]


def sample(
    density: float = 0.5, epsilon: float = 0.15, *, to_norm: bool = False
) -> Transform:
    r"""Keep at random, the larger of a row the likelier, rescaled by 1 / probability.

    .. math:: p_i = d - \epsilon + 2 \epsilon \frac{r_i}{n - 1}, \qquad
              y_i = \frac{m_i}{p_i} x_i, \quad m_i \sim \mathrm{Bernoulli}(p_i)

    or, with `to_norm`, all kept values by the factor that restores the tensor's L1
    norm (as mergekit does); r_i = 0 ... n - 1 ranks the magnitudes of one row (the
    last axis; a vector is one row) upwards, equal ones by position. A row of one
    element has p = d. Without `to_norm` the expectation is the input. A tensor of size
    0 stays as it is.

    Cost: a sort of every row in each pass, O(n log n); some copies of one tensor.

    Source: Deep et al., `DELLA-Merging <https://arxiv.org/abs/2406.11617>`_, 2024,
    section 3 (MagPrune). Epsilon is half the window's width, as in mergekit; other code
    (PaddleNLP) takes the whole width, so its epsilon is twice ours.

    Raises:
        ConfigError: the window does not lie within (0, 1].
    """
    fraction(density, "sample")
    if not (epsilon >= 0 and density - epsilon > 0 and density + epsilon <= 1):
        raise ConfigError(
            f"sample: density {density} and epsilon {epsilon} leave (0, 1]: allowed "
            "where density - epsilon is above 0 and density + epsilon at most 1"
        )

    def make(name: str, value: Floats, key: Key) -> Floats:
        odds = probabilities(value, density, epsilon)
        drawn = seeds.uniform(key.seed("sample", name), 0, value.size)
        kept = drawn.reshape(value.shape) < odds
        if to_norm:
            return to_l1(value, masked(value, kept))
        return np.where(kept, value / odds, 0.0).astype(np.float32)

    more = {"to_norm": True} if to_norm else {}
    text = written("sample", density=density, epsilon=epsilon, **more)
    return rewriting(text, make)


def probabilities(
    value: Floats, density: float, epsilon: float
) -> npt.NDArray[np.float64]:
    """By element, with what probability `sample` keeps it.

    Example:
        >>> probabilities(np.float32([[3, -1, 2]]), 0.5, 0.25).tolist()
        [[0.75, 0.25, 0.5]]
    """
    rows = np.abs(value).reshape(-1, value.shape[-1] if value.ndim else 1)
    width = rows.shape[1]
    if width <= 1:
        return np.full(value.shape, density)
    words = rows.astype(np.float32).view(np.uint32).astype(np.uint64) << np.uint64(32)
    words |= np.arange(width, dtype=np.uint64)
    words.sort(axis=1)
    order = (words & np.uint64(0xFFFFFFFF)).astype(np.int64)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(width)[np.newaxis], axis=1)
    odds = density - epsilon + 2 * epsilon * (ranks / (width - 1))
    return odds.reshape(value.shape)


def crumbs(
    density: float = 0.9, gamma: float = 0.01, *, floor: bool = False
) -> Transform:
    """Drop the largest outliers of each tensor, then keep the next largest.

    Of n elements the ``floor(gamma n)`` largest magnitudes are dropped and the
    ``min(ceil(density n), nonzeros left)`` next ones kept; of equal magnitudes those
    that come first count as the larger. With `floor` (as mergekit counts) the smallest
    ``n - floor(density n) - floor(gamma n)`` are dropped and the next
    ``floor(density n)`` kept, fewer outliers dropped where that leaves too few.

    Cost: two partitions of every tensor in each pass, O(n); some copies of one tensor.

    Source: Davari and Belilovsky, `Model Breadcrumbs
    <https://arxiv.org/abs/2312.06795>`_, 2023, section 3.

    Raises:
        ConfigError: density outside (0, 1], gamma below 0, or more than 1 together.

    Example:
        >>> from fedelta.protocols.vectors import TaskVector
        >>> vector = TaskVector.of({"w": np.float32([9, 1, -3, 0, 2])})
        >>> kept = crumbs(0.4, 0.2).apply(vector, Key())
        >>> kept.block(vector.layout.spans[0]).values.tolist()
        [0.0, 0.0, -3.0, 0.0, 2.0]
    """
    fraction(density, "crumbs")
    if not (gamma >= 0 and (floor or density + gamma <= 1 + 2.0**-50)):
        raise ConfigError(
            f"crumbs: density {density} and gamma {gamma}, allowed: gamma from 0, and "
            "at most 1 together"
        )

    def make(name: str, value: Floats, key: Key) -> Floats:  # noqa: ARG001
        size, count = value.size, density * value.size
        cut = math.floor(gamma * size)
        cut = min(cut, size - int(count)) if floor else cut
        most = min(cut + (int(count) if floor else math.ceil(count)), size)
        return masked(value, ranked(value, cut, most))

    more = {"floor": True} if floor else {}
    return rewriting(written("crumbs", density=density, gamma=gamma, **more), make)


def ranked(value: Floats, first: int, last: int) -> Masks:
    """True for the magnitudes from the first-th largest up to before the last-th."""
    sizes = np.abs(value.reshape(-1)).view(np.uint32)
    return (_largest(sizes, last) & ~_largest(sizes, first)).reshape(value.shape)


def _largest(sizes: npt.NDArray[np.uint32], count: int) -> Masks:
    """True for the largest magnitudes, given by their bits; of equal ones the first."""
    if not 0 < count < sizes.size:
        return np.full(sizes.size, count > 0)
    held = sizes.copy()
    held.partition(sizes.size - count)
    least = held[sizes.size - count]
    mask: Masks = sizes > least
    left = count - int(np.count_nonzero(mask))
    mask[np.flatnonzero(sizes == least)[:left]] = True
    return mask


def masked(value: Floats, mask: Masks) -> Floats:
    """The value where the mask is True, 0 elsewhere."""
    return np.where(mask, value, np.float32(0))


def della(
    density: float = 0.5,
    epsilon: float = 0.15,
    gain: float = 1.0,
    election: str = "mass",
    compat: str = "",
) -> Recipe:
    """Sample by magnitude, rescale, then TIES' election and mean.

    With ``compat="mergekit"`` what is kept is rescaled to the old L1 norm, and a sum of
    0 goes up. See `sample`.

    Cost: one pass, a sort of every row, O(K n log n); the state of `ties` and a tensor
    a member in memory.

    Source: Deep et al., 2024, as `sample` says; Yadav et al., 2023, as `ties` says.
    """
    knobs = {"density": density, "epsilon": epsilon, "gain": gain}
    text = written("della", **knobs, election=election, **given("mean", compat))
    peer = known(compat, "mergekit")
    reducer = mergekit_agreed(election, normalize=True) if peer else agreed(election)
    before = (sample(density, epsilon, to_norm=peer),)
    return Recipe(text, before, reducer, gained(gain))


def breadcrumbs(
    density: float = 0.9, gamma: float = 0.01, gain: float = 1.0, compat: str = ""
) -> Recipe:
    """Drop outliers and the smallest, average.

    The paper sums, and so does ``compat="mergekit"``. See `crumbs`.

    Cost: one pass, two partitions of every tensor, O(K n); one number an element in the
    state and a tensor a member in memory.

    Source: Davari and Belilovsky, 2023, as `crumbs` says.
    """
    knobs = {"density": density, "gamma": gamma, "gain": gain}
    text = written("breadcrumbs", **knobs, **given("mean", compat))
    peer = known(compat, "mergekit")
    before = (crumbs(density, gamma, floor=peer),)
    return Recipe(
        text, before, weighted_sum() if peer else weighted_mean(), gained(gain)
    )


def breadcrumbs_ties(
    density: float = 0.9,
    gamma: float = 0.01,
    gain: float = 1.0,
    election: str = "mass",
    compat: str = "",
) -> Recipe:
    """Drop outliers and the smallest, then TIES' election and mean.

    With ``compat="mergekit"`` what agrees is added, not averaged. See `crumbs`.

    Cost: as `breadcrumbs`, with the state of `ties`.

    Source: Davari and Belilovsky, 2023, as `crumbs` says; Yadav et al., 2023, as `ties`
    says.
    """
    knobs = {"density": density, "gamma": gamma, "gain": gain}
    text = written(
        "breadcrumbs_ties", **knobs, election=election, **given("mean", compat)
    )
    peer = known(compat, "mergekit")
    reducer = mergekit_agreed(election, normalize=False) if peer else agreed(election)
    return Recipe(text, (crumbs(density, gamma, floor=peer),), reducer, gained(gain))

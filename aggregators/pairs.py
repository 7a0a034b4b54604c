"""The compiled loops that merge two members' strips, with no sums in between.

As `quads` and `kernels` do it by sums, bit for bit: all sums are whole numbers that
float64 holds exactly. `how` is (cuts, gains, scale, shares), of two each but for the
scale, as `quads` has them.
"""

import math
from typing import Any

import numpy as np

from .kernels import fused, inlined
from .pointers import carray, fetch, pointer
from .strips import AHEAD, EVEN, PIECE, SIZE, WHOLE


@inlined
def _two(places: Any, first: Any, size: Any, kind: Any) -> Any:
    """A piece of both, once the cache has been asked for what comes later."""
    for row in range(2):
        for line in range(0, 4 * PIECE, 64):
            fetch(places[row] + AHEAD + 4 * first + line)
    return (
        carray(pointer(places[0] + 4 * first), size, kind),
        carray(pointer(places[1] + 4 * first), size, kind),
    )


@inlined
def _kept(bits: Any, value: Any, cut: Any, gain: Any) -> Any:
    kept = value * gain if bits & SIZE >= cut else np.float32(0)
    return np.float64(kept)


@inlined
def _peaks(bits: Any, tops: Any) -> None:
    """Have the largest magnitudes' bits in tops [2]."""
    first, second = bits
    a: Any = np.uint32(0)
    b: Any = np.uint32(0)
    for i in range(first.size):
        a, b = max(a, first[i] & SIZE), max(b, second[i] & SIZE)
    tops[0], tops[1] = max(tops[0], a), max(tops[1], b)


@fused
def mean_two(places: Any, how: Any, unit: Any, out: Any, tops: Any) -> None:
    """Write the weighted sum, times a unit, to out [n] float32.

    Args:
        places: addresses of n float32 values each.
        how: see above; cuts and gains are not looked at.
        unit: what a step is worth.
        out: where to.
        tops: where peaks go.
    """
    scale, (k, m) = how[2], how[3]
    for first in range(0, out.size, PIECE):
        size = min(PIECE, out.size - first)
        one, two = _two(places, first, size, np.float32)
        _peaks((one.view(np.uint32), two.view(np.uint32)), tops)
        here = out[first : first + size]
        for i in range(size):
            a = (np.float64(one[i]) * scale + EVEN) - EVEN
            b = (np.float64(two[i]) * scale + EVEN) - EVEN
            here[i] = np.float32((0.0 + (k * a + m * b)) * unit)


@fused
def agree_two(places: Any, how: Any, rule: Any, out: Any, tops: Any) -> None:
    """Write the elected side's mean; `rule`: what to elect by, what a step is worth."""
    cuts, gains, scale, (k, m) = how
    elect, unit = rule
    for first in range(0, out.size, PIECE):
        size = min(PIECE, out.size - first)
        one, two = _two(places, first, size, np.float32)
        bits, more = one.view(np.uint32), two.view(np.uint32)
        _peaks((bits, more), tops)
        here = out[first : first + size]
        for i in range(size):
            a = _kept(bits[i], one[i], cuts[0], gains[0])
            b = _kept(more[i], two[i], cuts[1], gains[1])
            p = k * ((abs(a) * scale + WHOLE) - WHOLE)
            q = m * ((abs(b) * scale + WHOLE) - WHOLE)
            rise = (p if a > 0 else 0.0) + (q if b > 0 else 0.0)
            fall = (p if a < 0 else 0.0) + (q if b < 0 else 0.0)
            above = (k if a > 0 else 0.0) + (m if b > 0 else 0.0)
            below = (k if a < 0 else 0.0) + (m if b < 0 else 0.0)
            ahead = above - below if elect else rise - fall
            total = rise if ahead > 0 else 0.0 - fall
            weight = above if ahead > 0 else below
            value = total * unit / (weight if weight > 0 else 1.0)
            here[i] = np.float32(value if ahead != 0 else 0.0)


@fused
def agree_even(places: Any, how: Any, unit: Any, out: Any, tops: Any) -> None:
    """The same by mass where both count alike, and `alike` is true: no division."""
    cuts, gains, scale = how[0], how[1], how[2]
    for first in range(0, out.size, PIECE):
        size = min(PIECE, out.size - first)
        one, two = _two(places, first, size, np.float32)
        bits, more = one.view(np.uint32), two.view(np.uint32)
        _peaks((bits, more), tops)
        here = out[first : first + size]
        for i in range(size):
            a = _kept(bits[i], one[i], cuts[0], gains[0])
            b = _kept(more[i], two[i], cuts[1], gains[1])
            p, q = (a * scale + EVEN) - EVEN, (b * scale + EVEN) - EVEN
            both = p + q
            larger = p if abs(p) > abs(q) else q
            total = both * 0.5 if a * b > 0 else larger
            here[i] = np.float32(total * unit if both != 0 else 0.0)


@fused
def alike(shares: Any, unit: Any) -> Any:
    """Whether dividing by one share or two is exact, so that shares do not matter."""
    one, two = shares
    by_unit, by_share = abs(math.frexp(unit)[0]), math.frexp(np.float64(one))[0]
    return (one == two) & (one > 0) & ((by_unit == 0.5) | (by_share == 0.5))  # noqa: PLR2004


@fused
def merge(run: Any, rule: Any, how: Any, out: Any, tops: Any) -> Any:
    """Merge two members that lie as float32 and have no ties to count.

    Args:
        run: the members, as `runs` has them.
        rule: how they are merged.
        how: (first element; scale; whether a side is elected, else all is added; what
            a step is worth).
        out: [n] float32.
        tops: [2] where peaks go.

    Returns:
        Whether there is a loop for it.
    """
    at, scale, agreed, unit = how
    cuts, gains, shares = run.cuts, run.gains, run.shares
    places = (run.places[0, 0] + 4 * at, run.places[0, 1] + 4 * at)
    counts = (np.float64(shares[0]), np.float64(shares[1]))
    two = ((cuts[0], cuts[1]), (gains[0], gains[1]), scale, counts)
    if agreed:
        if rule.elect == 0 and alike((shares[0], shares[1]), unit):
            agree_even(places, two, unit, out, tops)
        else:
            agree_two(places, two, (rule.elect, unit), out, tops)
        return True
    if (cuts[0] | cuts[1]) == 0 and gains[0] == 1 and gains[1] == 1:
        mean_two(places, two, unit / rule.total, out, tops)
        return True
    return False

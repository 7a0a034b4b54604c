"""The compiled loops that add four members' strips of dense values to sums at once.

As `strips` has them for one member; four at a time the sums are read and written once
where they would be four times, and four streams of memory are asked for side by side.
Fewer than four are made up to four with shares of 0.

`how` is (cuts, gains, scale, shares), of four each but for the scale: least magnitudes
added, as bits; what values are multiplied by; steps that a value of 1 is; float64
shares. The largest magnitudes' bits, before the gains, go to `tops` [4].
"""

from typing import Any

import numpy as np

from .kernels import WEIGHT_AT, compiled, fused, inlined
from .pointers import carray, fetch, pointer
from .strips import AHEAD, EVEN, PIECE, SIZE, WHOLE


@inlined
def _step(value: Any, scale: Any, share: Any) -> Any:
    return share * ((np.float64(value) * scale + EVEN) - EVEN)


@inlined
def _wholes(bits: Any, values: Any, how: Any, sums: Any, tops: Any) -> None:
    """Add all to sums [n] float64."""
    first, second, third, fourth = values
    one, two, three, four = bits
    scale, (k, m, n, o) = how[2], how[3]
    a: Any = np.uint32(0)
    b: Any = np.uint32(0)
    c: Any = np.uint32(0)
    d: Any = np.uint32(0)
    for i in range(sums.size):
        a, b = max(a, one[i] & SIZE), max(b, two[i] & SIZE)
        c, d = max(c, three[i] & SIZE), max(d, four[i] & SIZE)
        left = _step(first[i], scale, k) + _step(second[i], scale, m)
        sums[i] += left + (_step(third[i], scale, n) + _step(fourth[i], scale, o))
    tops[0], tops[1] = max(tops[0], a), max(tops[1], b)
    tops[2], tops[3] = max(tops[2], c), max(tops[3], d)


@inlined
def _peaks(bits: Any, tops: Any) -> None:
    """Have the largest magnitudes' bits in tops [4]."""
    first, second, third, fourth = bits
    a: Any = np.uint32(0)
    b: Any = np.uint32(0)
    c: Any = np.uint32(0)
    d: Any = np.uint32(0)
    for i in range(first.size):
        a, b = max(a, first[i] & SIZE), max(b, second[i] & SIZE)
        c, d = max(c, third[i] & SIZE), max(d, fourth[i] & SIZE)
    tops[0], tops[1] = max(tops[0], a), max(tops[1], b)
    tops[2], tops[3] = max(tops[2], c), max(tops[3], d)


@inlined
def _kept(bits: Any, value: Any, cut: Any, gain: Any) -> Any:
    return value * gain if bits & SIZE >= cut else np.float32(0)


@inlined
def _reals(bits: Any, values: Any, how: Any, sums: Any) -> None:
    """Add what reaches the cuts, times the gains."""
    cuts, gains, scale, shares = how
    for i in range(sums.size):
        a = _kept(bits[0][i], values[0][i], cuts[0], gains[0])
        b = _kept(bits[1][i], values[1][i], cuts[1], gains[1])
        c = _kept(bits[2][i], values[2][i], cuts[2], gains[2])
        d = _kept(bits[3][i], values[3][i], cuts[3], gains[3])
        left = _step(a, scale, shares[0]) + _step(b, scale, shares[1])
        sums[i] += left + (_step(c, scale, shares[2]) + _step(d, scale, shares[3]))


@inlined
def _term(value: Any, scale: Any, share: Any, weight: Any) -> Any:
    steps = (abs(np.float64(value)) * scale + WHOLE) - WHOLE
    return weight + np.int64(share * steps)


@inlined
def _packs(bits: Any, values: Any, how: Any, planes: Any, weights: Any) -> None:
    """The same to two planes by sign, weights in the upper bits."""
    cuts, gains, scale, shares = how
    up, down = planes
    for i in range(up.size):
        a = _kept(bits[0][i], values[0][i], cuts[0], gains[0])
        b = _kept(bits[1][i], values[1][i], cuts[1], gains[1])
        c = _kept(bits[2][i], values[2][i], cuts[2], gains[2])
        d = _kept(bits[3][i], values[3][i], cuts[3], gains[3])
        p = _term(a, scale, shares[0], weights[0])
        q = _term(b, scale, shares[1], weights[1])
        r = _term(c, scale, shares[2], weights[2])
        s = _term(d, scale, shares[3], weights[3])
        left, right = (p if a > 0 else 0) + (q if b > 0 else 0), r if c > 0 else 0
        up[i] += left + right + (s if d > 0 else 0)
        left, right = (p if a < 0 else 0) + (q if b < 0 else 0), r if c < 0 else 0
        down[i] += left + right + (s if d < 0 else 0)


@inlined
def _ask(ahead: Any, first: Any) -> None:
    """Have the cache fetch a piece of float32 values of each."""
    for row in range(4):
        if ahead[row]:
            for line in range(0, 4 * PIECE, 64):
                fetch(ahead[row] + 4 * first + line)


@inlined
def _four(places: Any, first: Any, size: Any, kind: Any) -> Any:
    return (
        carray(pointer(places[0] + 4 * first), size, kind),
        carray(pointer(places[1] + 4 * first), size, kind),
        carray(pointer(places[2] + 4 * first), size, kind),
        carray(pointer(places[3] + 4 * first), size, kind),
    )


@fused
def add_wholes(places: Any, how: Any, sums: Any, ahead: Any, tops: Any) -> None:
    """Add all of four strips to sums [n] float64.

    Args:
        places: addresses of n float32 values each.
        how: see above; cuts and gains are not looked at.
        sums: what to add to.
        ahead: [4] addresses of what will be read next; 0: nothing.
        tops: where peaks go.
    """
    for first in range(0, sums.size, PIECE):
        _ask(ahead, first)
        size = min(PIECE, sums.size - first)
        values = _four(places, first, size, np.float32)
        bits = _four(places, first, size, np.uint32)
        _wholes(bits, values, how, sums[first : first + size], tops)


@fused
def add_reals(places: Any, how: Any, sums: Any, ahead: Any, tops: Any) -> None:
    """Add what reaches the cuts, times the gains."""
    for first in range(0, sums.size, PIECE):
        _ask(ahead, first)
        size = min(PIECE, sums.size - first)
        values = _four(places, first, size, np.float32)
        bits = _four(places, first, size, np.uint32)
        _peaks(bits, tops)
        _reals(bits, values, how, sums[first : first + size])


@fused
def add_packs(places: Any, how: Any, planes: Any, ahead: Any, tops: Any) -> None:
    """The same to two planes by sign, weights in the upper bits."""
    up, down = planes
    shares = how[3]
    at = np.int64(WEIGHT_AT)
    weights = (
        np.int64(shares[0]) << at,
        np.int64(shares[1]) << at,
        np.int64(shares[2]) << at,
        np.int64(shares[3]) << at,
    )
    for first in range(0, up.size, PIECE):
        _ask(ahead, first)
        size = min(PIECE, up.size - first)
        values = _four(places, first, size, np.float32)
        bits = _four(places, first, size, np.uint32)
        _peaks(bits, tops)
        pair = (up[first : first + size], down[first : first + size])
        _packs(bits, values, how, pair, weights)


@compiled
def add_all(loop: Any, given: Any, how: Any, sums: Any, room: Any) -> None:
    """Add all members' strips, which lie as float32 and have no ties to count.

    Args:
        loop: whether sums are two planes by sign.
        given: ([K] addresses, bytes from there on, address of zeros).
        how: ([K] cuts, [K] gains, [K] int64 shares, scale).
        sums: (float64, up, down): [n] each.
        room: ([4] for addresses, [4] for peaks, [K] where peaks go).
    """
    places, offset, zeros = given
    cuts, gains, shares, scale = how
    ahead, found, tops = room
    reals, up, down = sums
    count = shares.size
    for k in range(0, count, 4):
        b, c, d = k + 1 < count, k + 2 < count, k + 3 < count
        second, third, fourth = min(k + 1, count - 1), min(k + 2, count - 1), k + 3
        fourth = min(fourth, count - 1)
        here = (
            places[k] + offset,
            places[second] + offset if b else zeros,
            places[third] + offset if c else zeros,
            places[fourth] + offset if d else zeros,
        )
        ahead[0] = here[0] + AHEAD
        ahead[1] = here[1] + AHEAD if b else 0
        ahead[2] = here[2] + AHEAD if c else 0
        ahead[3] = here[3] + AHEAD if d else 0
        found[:] = 0
        least = (cuts[k], cuts[second], cuts[third], cuts[fourth])
        times = (gains[k], gains[second], gains[third], gains[fourth])
        counts = (
            np.float64(shares[k]),
            np.float64(shares[second]) if b else 0.0,
            np.float64(shares[third]) if c else 0.0,
            np.float64(shares[fourth]) if d else 0.0,
        )
        four = (least, times, scale, counts)
        cut = least[0] | least[1] | least[2] | least[3]
        bare = (times[0] == 1) & (times[1] == 1) & (times[2] == 1) & (times[3] == 1)
        if loop:
            add_packs(here, four, (up, down), ahead, found)
        elif bare and cut == 0:
            add_wholes(here, four, reals, ahead, found)
        else:
            add_reals(here, four, reals, ahead, found)
        for row in range(min(4, count - k)):
            tops[k + row] = max(tops[k + row], found[row])

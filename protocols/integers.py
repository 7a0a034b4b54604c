"""The compiled loops of the integer formats: a code a value, a step a group of them.

A value is its code times its group's step. The step is a half in units of 2^e, rounded
up, so that no code is larger than the largest there is.
"""

import numpy as np
import numpy.typing as npt

from .kernels import CODE, FINE, Bytes, Ends, Floats, compiled
from .masks import share


@compiled
def write_codes(  # noqa: PLR0913, PLR0917 - a loop's arrays
    values: Floats,
    ends: Ends,
    group: int,
    steps: Floats,
    key: np.uint64,
    at: int,
    codes: npt.NDArray[np.int8],
) -> None:
    """The code of each value: the nearest one, ties to even.

    Args:
        values: [k] what is written.
        ends: [spans + 1] values before each span.
        group: values a step.
        steps: the groups' steps.
        key: where it is not 0, a value between two codes goes to either, with such
            chances that it is right on average.
        at: the first value's place among all of its tensor.
        codes: [k] where codes go.
    """
    first = 0
    for s in range(ends.size - 1):
        count = ends[s + 1] - ends[s]
        for i in range(count):
            step = np.float64(steps[first + i // group])
            place = ends[s] + i
            if step == 0:
                codes[place] = 0
                continue
            size = np.float64(values[place]) / step
            if key == np.uint64(0):
                codes[place] = np.int8(np.rint(size))
            else:
                codes[place] = np.int8(np.floor(size + share(key, at + place)))
        first += (count + group - 1) // group


@compiled
def lift(values: Floats, ends: Ends, group: int, steps: Floats) -> None:
    """Make what would have code 0 as large as its step."""
    at = 0
    for s in range(ends.size - 1):
        for first in range(ends[s], ends[s + 1], group):
            for i in range(first, min(first + group, ends[s + 1])):
                if np.rint(values[i] / np.float64(steps[at])) == 0:
                    values[i] = steps[at] if values[i] > 0 else -steps[at]
            at += 1


@compiled
def clear_steps(
    codes: npt.NDArray[np.int8], ends: Ends, group: int, steps: npt.NDArray[np.uint16]
) -> None:
    """A group whose codes are all 0 has step 0."""
    at = 0
    for s in range(ends.size - 1):
        for first in range(ends[s], ends[s + 1], group):
            some = False
            for i in range(first, min(first + group, ends[s + 1])):
                some |= codes[i] != 0
            if not some:
                steps[at] = 0
            at += 1


@compiled
def write_nibbles(codes: npt.NDArray[np.int8], ends: Ends, nibbles: Bytes) -> None:
    """Two codes a byte, the lower half first; `nibbles` is zero before."""
    at = 0
    for s in range(ends.size - 1):
        count = ends[s + 1] - ends[s]
        for i in range(count):
            code = np.uint8(codes[ends[s] + i] & 15)
            nibbles[at + (i >> 1)] |= code << np.uint8(4 * (i & 1))
        at += (count + 1) >> 1


@compiled
def read_codes(
    codes: npt.NDArray[np.int8], group: int, steps: Floats, ends: Ends, out: Floats
) -> int:
    """Codes times steps.

    Returns:
        FINE; CODE where one is -128, or where a step and its codes are not zero alike.
    """
    flaw = FINE
    at = 0
    for s in range(ends.size - 1):
        for first in range(ends[s], ends[s + 1], group):
            step = steps[at]
            some = np.int8(0)
            lowest = np.int8(0)
            for i in range(first, min(first + group, ends[s + 1])):
                code = codes[i]
                some |= code
                lowest = min(lowest, code)
                out[i] = np.float32(code) * step
            if lowest == np.int8(-128) or (some != 0) != (step != 0):
                flaw = CODE
            at += 1
    return flaw


@compiled
def read_nibbles(
    nibbles: Bytes, group: int, steps: Floats, ends: Ends, out: Floats
) -> int:
    """The same from two codes a byte, -7 to 7; each span begins with a byte."""
    flaw = FINE
    at, byte = 0, 0
    for s in range(ends.size - 1):
        start = ends[s]
        count = ends[s + 1] - start
        for first in range(0, count, group):
            step = steps[at]
            some = np.int64(0)
            lowest = np.int64(0)
            for i in range(first, min(first + group, count)):
                half = nibbles[byte + (i >> 1)] >> np.uint8(4 * (i & 1))
                code = ((np.int64(half) & 15) ^ 8) - 8
                some |= code
                lowest = min(lowest, code)
                out[start + i] = np.float32(code) * step
            if lowest == -8 or (some != 0) != (step != 0):  # noqa: PLR2004
                flaw = CODE
            at += 1
        if count & 1 and nibbles[byte + (count >> 1)] >> np.uint8(4):
            flaw = CODE
        byte += (count + 1) >> 1
    return flaw

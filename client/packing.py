"""Several short texts in one row: fewer pads, the same loss."""

import bisect
from collections.abc import Sequence

Places = tuple[int, ...]


def packed(lengths: Sequence[int], longest: int) -> list[Places]:
    """Which texts share a row, none of them cut.

    The longest first, each into the row that it fills best (best fit decreasing).

    Args:
        lengths: of each text, in tokens, each at most `longest`.
        longest: tokens of a row.

    Returns:
        The places of each row's texts, rows by their first text.

    Example:
        >>> packed([3, 7, 5, 2, 10], 10)
        [(0, 1), (2, 3), (4,)]
    """
    rows: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (room left, row), sorted
    for place in sorted(range(len(lengths)), key=lambda one: (-lengths[one], one)):
        found = bisect.bisect_left(rooms, (lengths[place], -1))
        if found < len(rooms):
            room, row = rooms.pop(found)
        else:
            room, row = longest, len(rows)
            rows.append([])
        rows[row].append(place)
        bisect.insort(rooms, (room - lengths[place], row))
    return sorted(tuple(sorted(row)) for row in rows)


def positions(lengths: Sequence[int]) -> list[int]:
    """Where each token of a row stands within its own text.

    Example:
        >>> positions([3, 2])
        [0, 1, 2, 0, 1]
    """
    return [place for length in lengths for place in range(length)]

"""How a benchmark that holds bounds ends."""

from collections.abc import Sequence


def verdict(wrong: Sequence[str]) -> int:
    """Print what does not hold; the exit status.

    Example:
        >>> verdict([])
        all holds
        0
    """
    for fault in wrong:
        print("does not hold:", fault)
    print(f"{len(wrong)} do not hold" if wrong else "all holds")
    return 1 if wrong else 0

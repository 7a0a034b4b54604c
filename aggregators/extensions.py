"""Recipes of one's own: factories that other packages register by entry points.

A package names them in its ``pyproject.toml``::

    [project.entry-points."fedelta.recipes"]
    halved = "my_package.merges:halved"

where ``halved`` is a function that returns a `Recipe` or a `Transform`, as ours do.
They are loaded when a recipe's text names them, and only what is installed beside us
can be named: a recipe's text never is code.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..protocols.errors import ConfigError

GROUP = "fedelta.recipes"


class Known(Mapping[str, Callable[..., Any]]):
    """Our factories, and after them what is registered, loaded where it is named.

    Args:
        ours: by name; nobody else's may go by the same.
        others: entry points; None: those of the installed packages.
    """

    def __init__(
        self,
        ours: Mapping[str, Callable[..., Any]],
        others: Iterable[EntryPoint] | None = None,
    ) -> None:
        self._ours = ours
        found = registered() if others is None else tuple(others)
        self._others = {one.name: one for one in found if one.name not in ours}

    def __getitem__(self, name: str) -> Callable[..., Any]:
        """The factory of that name."""
        if name in self._ours:
            return self._ours[name]
        return load(self._others[name])

    def __iter__(self) -> Iterator[str]:
        """All names, ours first."""
        yield from self._ours
        yield from self._others

    def __len__(self) -> int:
        """How many there are."""
        return len(self._ours) + len(self._others)


@lru_cache(maxsize=1)
def registered() -> tuple[EntryPoint, ...]:
    """Entry points of other packages."""
    return tuple(entry_points(group=GROUP))


def load(entry: EntryPoint) -> Callable[..., Any]:
    """What an entry point names.

    Raises:
        ConfigError: it cannot be imported, or cannot be called.
    """
    try:
        made = entry.load()
    except Exception as error:
        raise ConfigError(
            f"{entry.group}: {entry.name} = {entry.value!r} cannot be loaded "
            f"({type(error).__name__}: {error})"
        ) from error
    if not callable(made):
        raise ConfigError(f"{entry.group}: {entry.value} is no function")
    called: Callable[..., Any] = made
    return called

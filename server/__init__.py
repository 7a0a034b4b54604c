"""The coordinator's side: configuration, rounds, the journal and the report.

`MergeStrategy` puts any merge into anybody's own Flower app.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .strategies import MergeStrategy

__all__ = ["MergeStrategy"]


def __getattr__(name: str) -> Any:
    """Import Flower only where it is asked for: ``--help`` starts without it."""
    if name in __all__:
        from . import strategies

        return getattr(strategies, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

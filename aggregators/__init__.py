"""Merging: transform, sum, read. Arithmetic only; no transport, no framework."""

from .base import Key, Member, Recipe, Reducer, Transform
from .merges import merge, merge_files
from .recipes import describe, properties, recipe
from .reductions import merged, reduce
from .spaces import Arrival, Merged, merge_round

__all__ = [
    "Arrival",
    "Key",
    "Member",
    "Merged",
    "Recipe",
    "Reducer",
    "Transform",
    "describe",
    "merge",
    "merge_files",
    "merge_round",
    "merged",
    "properties",
    "recipe",
    "reduce",
]

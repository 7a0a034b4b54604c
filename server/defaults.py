"""Defaults that follow from other settings, for keys that no layer of a run names."""

from typing import Any

FOLLOWING: tuple[tuple[str, str | bool, str, str], ...] = (
    ("train.scaffold", True, "train.optimizer", "sgd"),
    ("train.scaffold", True, "wire.up", "fp16"),
    ("train.mode", "full", "wire.up", "sparse(density=0.05)"),
    ("train.mode", "full", "wire.down", "moved(values='fp8')"),
    ("lora.space", "residual", "wire.down", "int4"),
    ("lora.space", "share-a", "eval.where", "clients"),
    ("model.task", "causal-lm", "eval.metric", "perplexity"),
)
"""(key, value, other key, its default where the first has that value)."""


def fill(tables: dict[str, Any]) -> None:
    """Add to tables of plain values what follows from what they say.

    Example:
        >>> tables = {"train": {"mode": "full"}}
        >>> fill(tables)
        >>> tables["wire"]
        {'up': 'sparse(density=0.05)', 'down': "moved(values='fp8')"}
    """
    for path, value, other, default in FOLLOWING:
        table, key = path.split(".")
        given = tables.get(table)
        if isinstance(given, dict) and given.get(key) == value:
            table, key = other.split(".")
            held = tables.setdefault(table, {})
            if isinstance(held, dict):
                held.setdefault(key, default)

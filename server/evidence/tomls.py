"""A configuration as a TOML file that runs."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ...protocols.settings import Config


def text(config: Config, head: str = "") -> str:
    """What differs from the defaults, table by table.

    Args:
        config: what the file is to say.
        head: a comment at its top.

    Example:
        >>> from fedelta.protocols.settings import Run, Train
        >>> print(text(Config(run=Run(rounds=1), train=Train(prox_mu=0.5))), end="")
        [run]
        rounds = 1
        <BLANKLINE>
        [train]
        prox_mu = 0.5
    """
    lines = [f"# {line}" for line in head.splitlines()]
    usual = asdict(Config())
    tables = asdict(config)
    for name, keys in tables.items():
        if name == "clients":
            continue
        other = {k: v for k, v in keys.items() if v != usual[name][k]}
        if other:
            lines += ["", f"[{name}]", *_keys(other)]
    for client in tables["clients"]:
        given = {key: value for key, value in client.items() if value}
        lines += ["", "[[clients]]", *_keys(given)]
    return "\n".join(lines).strip() + "\n"


def _keys(given: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_plain(value)}" for key, value in given.items()]


def _plain(value: Any) -> str:
    """A value as TOML: JSON's way of writing it is TOML's too."""
    given = list(value) if isinstance(value, tuple) else value
    return json.dumps(given, ensure_ascii=False)

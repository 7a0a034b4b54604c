"""A run's merge as mergekit writes it: YAML over whole models that lie beside it."""

from collections.abc import Callable, Mapping
from typing import Any

import yaml  # type: ignore[import-untyped]

from ...protocols.calls import Call
from ...protocols.errors import ConfigError
from ...protocols.grammar import parse

BASE, CLIENTS = "base", "clients"
SHEET = "merge.yaml"

_Knobs = dict[str, Any]
_Made = tuple[str, _Knobs, _Knobs]


def _mean(call: Call) -> _Made:  # noqa: ARG001
    return "linear", {"normalize": True}, {}


def _sum(call: Call) -> _Made:
    gain = _knob(call, 0, "gain", 1.0)
    return "task_arithmetic", {"lambda": gain, "normalize": False}, {}


def _ties(call: Call) -> _Made:
    shared = {"lambda": _knob(call, 1, "gain", 1.0), "normalize": True}
    return "ties", shared, {"density": _knob(call, 0, "density", 0.2)}


def _dare(name: str) -> Callable[[Call], _Made]:
    def made(call: Call) -> _Made:
        shared = {"lambda": _knob(call, 1, "gain", 1.0), "normalize": True}
        return name, shared, {"density": _knob(call, 0, "density", 0.1)}

    return made


METHODS: Mapping[str, Callable[[Call], _Made]] = {
    "fedavg": _mean,
    "task_arithmetic": _sum,
    "ties": _ties,
    "dare": _dare("dare_linear"),
    "dare_ties": _dare("dare_ties"),
}
DRAWN = ("dare", "dare_ties")
"""Recipes whose draws mergekit makes anew: the same in expectation alone."""


def sheet(recipe: str, shares: Mapping[str, int]) -> str:
    """The YAML of a merge of clients' models.

    Args:
        recipe: the run's.
        shares: what each client counts for, by the folder of its model.

    Raises:
        ConfigError: mergekit has no such merge.

    Example:
        >>> print(sheet("ties(density=0.3)", {"a": 1, "b": 3}))
        base_model: base
        dtype: float32
        merge_method: ties
        models:
        - model: clients/a
          parameters:
            density: 0.3
            weight: 0.25
        - model: clients/b
          parameters:
            density: 0.3
            weight: 0.75
        parameters:
          lambda: 1.0
          normalize: true
        <BLANKLINE>
    """
    call = parse(recipe)
    if call.name not in METHODS:
        raise ConfigError(
            f"mergekit has no {recipe}: it has " + ", ".join(sorted(METHODS))
        )
    if strange := sorted(set(call.kwargs) - {"density", "gain"}):
        raise ConfigError(f"mergekit's {call.name} has no {strange[0]}")
    method, shared, own = METHODS[call.name](call)
    total = sum(shares.values())
    summed = call.name == "task_arithmetic"
    models = [
        {
            "model": f"{CLIENTS}/{name}",
            "parameters": {"weight": 1.0 if summed else share / total, **own},
        }
        for name, share in shares.items()
    ]
    told: dict[str, Any] = {
        "merge_method": method,
        "models": models,
        "parameters": shared,
        "dtype": "float32",
    }
    if method != "linear":
        told["base_model"] = BASE
    return str(yaml.safe_dump(told, sort_keys=True))


def _knob(call: Call, place: int, name: str, usual: float) -> float:
    found = call.kwargs.get(name, call.args[place] if len(call.args) > place else usual)
    if not isinstance(found, int | float):
        raise ConfigError(f"{call.name}: {name} = {found!r} is not mergekit's")
    return float(found)

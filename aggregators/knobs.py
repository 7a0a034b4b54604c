"""Knobs that vary over a model: gradients over depth, values by name pattern.

A setting is a number, truth value or word; a list of numbers, which is read off at a
tensor's depth (0 the first layer, 1 the last, straight in between; tensors outside
layers take the first); or a list of ``{filter: TEXT, value: SETTING}``, of which the
first whose text is in the tensor's name (or is "*", or left out) counts.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ..protocols.bindings import nearest
from ..protocols.errors import ConfigError

Settings = Mapping[str, Any]
Scalar = float | bool | str


def resolved(setting: Any, name: str, depth: float, knob: str = "a knob") -> Any:
    """What a setting says for one tensor; None where no filter fits.

    Args:
        setting: as above.
        name: the tensor's.
        depth: 0 to 1.
        knob: for messages.

    Raises:
        ConfigError: no such setting.

    Example:
        >>> resolved([0, 1], "layers.1.mlp", 0.25)
        0.25
        >>> by_name = [{"filter": "mlp", "value": [0.2, 0.4]}, {"value": 1}]
        >>> resolved(by_name, "layers.1.mlp", 0.5), resolved(by_name, "norm", 0.5)
        (0.30000000000000004, 1)
    """
    if isinstance(setting, bool | int | float | str):
        return setting
    if isinstance(setting, Mapping):
        setting = [setting]
    if not isinstance(setting, list):
        raise ConfigError(f"{knob}: {setting!r} is no setting")
    if setting and all(_number(one) for one in setting):
        return _along(setting, depth)
    for one in setting:
        if not isinstance(one, Mapping) or not one.keys() <= {"filter", "value"}:
            raise ConfigError(
                f"{knob}: {one!r} is neither a number nor a filter with a value"
            )
        wanted = one.get("filter")
        if wanted is None or wanted == "*" or str(wanted) in name:
            return resolved(one.get("value"), name, depth, knob)
    return None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _along(points: list[float], depth: float) -> float:
    place = depth * (len(points) - 1)
    left = int(place)
    right = min(left + 1, len(points) - 1)
    return (1 - (place - left)) * points[left] + (place - left) * points[right]


def first(
    knob: str, default: Any, scopes: Iterable[Settings], name: str, depth: float
) -> Any:
    """A knob's value by the first scope that has one for this tensor.

    Raises:
        ConfigError: nobody has, or a value of another type than the default's.
    """
    value = None
    for scope in scopes:
        if knob in scope:
            value = resolved(scope[knob], name, depth, knob)
        if value is not None:
            break
    if value is None:
        value = default
    if value is None:
        raise ConfigError(f"{knob} is not given for {name}")
    if isinstance(default, bool) != isinstance(value, bool):
        raise ConfigError(f"{knob}: {value!r} for {name}, expected another type")
    if not isinstance(value, bool | str):
        value = float(value)
    elif isinstance(value, str):
        value = _parsed(knob, value)
    return value


def _parsed(knob: str, value: str) -> float:
    """YAML reads 1e-3 as text."""
    try:
        return float(value)
    except ValueError:
        raise ConfigError(f"{knob}: {value!r} is no number") from None


def checked(settings: Settings, allowed: Iterable[str], where: str) -> None:
    """Hold knobs to those that a method has.

    Raises:
        ConfigError: another one, with the nearest right one.
    """
    known = list(allowed)
    for knob in settings:
        if knob not in known:
            raise ConfigError(f"{where} has no knob {knob!r}: {nearest(knob, known)}")

"""Knobs that vary over a model: gradients over depth, values by a part of the name.

In a recipe's text a number may be a gradient, ``ties(density=(0.1, 0.5))``: the first
value for the first layer, the last for the last, straight in between (tensors outside
layers as `depths.fractions` places them); or go by the tensor's name,
``ties(density=named("mlp", 0.1, "attention", (0.3, 0.5), 0.2))``: the first text that
is in the name counts, the last value is for all others. Each tensor is then merged by
the recipe with its own numbers.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_type_hints

import numpy as np

from ..protocols.errors import ConfigError
from ..protocols.vectors import Contribution, Layout
from .base import Key, Member, Recipe, Reducer, Transform
from .cohorts import gathered
from .depths import Graded, fractions
from .knobs import resolved
from .patchworks import Alone, Patchwork, patched
from .rewrites import written
from .scales import peaks

_WHOLE = ("clip(", "trim_vector(", "reaching(", "lines(", "weighed(", "regressed(")


@dataclass(frozen=True)
class Named:
    """Values by a part of a tensor's name.

    Attributes:
        cases: text, value, text, value...; last the value for all others.
    """

    cases: tuple[Any, ...]

    def __repr__(self) -> str:
        """As it is written in a recipe."""
        return f"named({', '.join(map(repr, self.cases))})"


VARYING = (tuple, Named)


def named(*cases: Any) -> Named:
    """Values by a part of a tensor's name.

    Raises:
        ConfigError: not pairs of a text and a value with one value behind them.

    Example:
        >>> named("mlp", 0.1, 0.2)
        named('mlp', 0.1, 0.2)
    """
    texts = cases[:-1:2]
    if len(cases) % 2 == 0 or not all(isinstance(one, str) for one in texts):
        raise ConfigError(
            "named takes a text and a value in turn and a value for all others: "
            'named("mlp", 0.1, 0.2)'
        )
    return Named(cases)


def varying(make: Callable[..., Any]) -> Callable[..., Any]:
    """A factory of recipes or transforms that takes varying knobs too."""
    signature = inspect.signature(make)

    @functools.wraps(make)
    def made(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        if not any(isinstance(value, VARYING) for value in given.values()):
            return make(*args, **kwargs)
        knobs = {name: _setting(value) for name, value in given.items()}
        for name, setting in knobs.items():
            if _varies(setting):
                _checked(make, name, setting)
        found = Family(make, given, knobs)
        return _recipe(found) if isinstance(found.first, Recipe) else _transform(found)

    made.varies = VARYING  # type: ignore[attr-defined]
    return made


def _setting(value: Any) -> Any:
    """A knob as `settings.resolved` reads it."""
    if isinstance(value, tuple):
        return [_setting(one) for one in value]
    if not isinstance(value, Named):
        return value
    *pairs, last = value.cases
    found = [
        {"filter": text, "value": _setting(one)}
        for text, one in zip(pairs[::2], pairs[1::2], strict=True)
    ]
    return [*found, {"value": _setting(last)}]


def _checked(make: Callable[..., Any], knob: str, setting: Any) -> None:
    """Hold a varying knob to values of the knob's kind."""
    kind = get_type_hints(make).get(knob)
    where = f"{make.__name__}: {knob}"
    if kind not in (float, int, str):
        raise ConfigError(f"{where} cannot vary; only numbers and words can")
    allowed = (int, float) if kind is float else (kind,)
    ends = _ends(setting)
    wrong = [one for one in ends if not isinstance(one, allowed)]
    if wrong or not ends:
        raise ConfigError(f"{where} is {wrong or ends}, expected {kind.__name__}")
    if kind is not float and _along(setting):
        raise ConfigError(f"{where} can go by name, but not along the depth")


def _along(setting: Any) -> bool:
    """Whether a gradient is in a setting."""
    if isinstance(setting, Mapping):
        return _along(setting["value"])
    if not isinstance(setting, list):
        return False
    return any(not isinstance(one, Mapping) or _along(one) for one in setting)


class Family:
    """One factory's recipes or transforms, tensor by tensor.

    Args:
        make: the factory.
        given: its arguments as they were written.
        knobs: the same as settings.

    Attributes:
        text: how it is written.
        first: what an unnamed tensor of the first layer gets.

    Raises:
        ConfigError: a value that the factory does not take, or knobs that make sums
            which differ from tensor to tensor.
    """

    def __init__(
        self,
        make: Callable[..., Any],
        given: Mapping[str, Any],
        knobs: Mapping[str, Any],
    ) -> None:
        self._make, self._knobs = make, dict(knobs)
        self._held: dict[tuple[Any, ...], Any] = {}
        self.text = written(make.__name__, **given)
        for knob, setting in knobs.items():
            for value in _ends(setting):  # refuse now what would be refused in a round
                self._at({**_plain(knobs), knob: value})
        self.first = self._at(_plain(knobs))

    def _at(self, knobs: Mapping[str, Any]) -> Any:
        key = tuple(knobs.values())
        if key not in self._held:
            self._held[key] = self._make(**knobs)
        return self._held[key]

    def of(self, layout: Layout) -> list[Any]:
        """By tensor, its own recipe or transform."""
        places = zip(layout.names, fractions(layout.names), strict=True)
        return [
            self._at(
                {
                    knob: resolved(one, name, depth, knob) if _varies(one) else one
                    for knob, one in self._knobs.items()
                }
            )
            for name, depth in places
        ]


def _varies(setting: Any) -> bool:
    return isinstance(setting, list)


def _ends(setting: Any) -> list[Any]:
    """Every number that a setting names."""
    if isinstance(setting, Mapping):
        return _ends(setting["value"])
    if isinstance(setting, list):
        return [value for one in setting for value in _ends(one)]
    return [setting]


def _plain(knobs: Mapping[str, Any]) -> dict[str, Any]:
    return {knob: _ends(one)[0] if _varies(one) else one for knob, one in knobs.items()}


def _transform(family: Family) -> Transform:
    first: Transform = family.first
    _apart(first.text)

    def apply(contribution: Contribution, key: Key) -> Contribution:
        chosen = family.of(contribution.layout)
        return patched(contribution, chosen, key)

    return Transform(family.text, apply)


def _apart(text: str) -> None:
    """Hold a transform to look at tensors one by one."""
    if text.startswith(_WHOLE):
        raise ConfigError(f"{text} looks at all tensors at once and cannot vary")


def _recipe(family: Family) -> Recipe:
    first: Recipe = family.first
    if first.outer is not None or first.after:
        raise ConfigError(f"{family.text}: what is merged twice cannot vary")
    before = []
    for place, one in enumerate(first.before):
        _apart(one.text)
        head = one.text.partition("(")[0]
        apply = functools.partial(_before, family, place)
        before.append(Transform(f"{head}({family.text})", apply))
    after = Transform(f"scale({family.text})", functools.partial(_after, family))
    return replace(
        first,
        text=family.text,
        before=tuple(before),
        reducer=_reducer(family),
        gain=1.0,
        after=(after,),
    )


def _before(
    family: Family, place: int, contribution: Contribution, key: Key
) -> Contribution:
    chosen: list[Recipe] = family.of(contribution.layout)
    befores = [one.before[place] for one in chosen]
    return patched(contribution, befores, key)


def _after(family: Family, contribution: Contribution, key: Key) -> Contribution:
    gains = [one.gain for one in family.of(contribution.layout)]
    if all(one == 1 for one in gains):
        return contribution
    factors = np.array(gains, np.float32)
    top = peaks(contribution, key.client or "the merge") * np.abs(factors)
    return Graded(contribution, factors, top)


def _reducer(family: Family) -> Reducer:
    """Sums are the same for every tensor; a cohort's rule may be each one's own."""
    first: Recipe = family.first
    members: list[Recipe] = list(family._held.values())  # noqa: SLF001
    if all(one.reducer.text == first.reducer.text for one in members):
        return first.reducer
    if first.reducer.cohort is None:
        raise ConfigError(
            f"{family.text}: what is summed must be the same for every tensor; "
            "knobs of what comes before the sum and gains can vary"
        )

    def merge(members: Sequence[Member], key: Key) -> Contribution:
        layout = members[0].contribution.layout
        parts = []
        for place, one in enumerate(family.of(layout)):
            alone = [
                replace(m, contribution=Alone(m.contribution, place)) for m in members
            ]
            parts.append(one.reducer.cohort(alone, key))
        return Patchwork(layout, parts)

    return gathered(family.text, merge, adds=first.reducer.adds)

"""What a search may vary: choices and ranges, by key or by a name within texts."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from ...protocols.errors import ConfigError
from ...protocols.settings import Config
from .limits import changed

Value = float | int | str | bool
_RANGE = re.compile(r"\s*(-?[0-9.eE+-]+?)\s*\.\.\s*(-?[0-9.eE+-]+)(\s+log)?\s*")
_STEPS = 3
MERGE = "merge.recipe"


@dataclass(frozen=True, slots=True)
class Variable:
    """One thing that is varied.

    Attributes:
        name: a key such as "train.steps", or a name that stands in braces in texts.
        choices: what it may be; empty: a number in a range.
        low: the range's lower end, and
        high: its upper one.
        whole: whether it is a whole number.
        log: whether it is spread by its logarithm.
    """

    name: str
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 1.0
    whole: bool = False
    log: bool = False

    @classmethod
    def read(cls, text: str) -> "Variable":
        """Read ``NAME=A; B; C`` or ``NAME=LOW..HIGH``, with " log" behind it or not.

        Raises:
            ConfigError: it is neither.

        Example:
            >>> Variable.read("density=0.05..0.8").at(0.5)
            0.425
            >>> Variable.read("train.steps=2..8").at(0.99)
            8
            >>> Variable.read("wire.up=fp16; sign256").choices
            ('fp16', 'sign256')
        """
        name, equals, body = text.partition("=")
        if not equals or not name.strip() or not body.strip():
            raise ConfigError(f"--over {text}: write it as NAME=A; B or NAME=LOW..HIGH")
        found = _RANGE.fullmatch(body)
        if found is None:
            parts = [one.strip() for one in body.split(";") if one.strip()]
            return cls(name.strip(), tuple(_plain(one) for one in parts))
        low, high = _plain(found[1]), _plain(found[2])
        if isinstance(low, str) or isinstance(high, str) or not low < high:
            raise ConfigError(f"--over {text}: a range goes from low to high")
        if found[3] and low <= 0:
            raise ConfigError(f"--over {text}: logarithms are of numbers above 0")
        whole = isinstance(low, int) and isinstance(high, int)
        return cls(name.strip(), (), low, high, whole, bool(found[3]))

    def at(self, share: float) -> Value:
        """The value at a place from 0 to 1."""
        if self.choices:
            return self.choices[
                min(int(share * len(self.choices)), len(self.choices) - 1)
            ]
        if self.whole:
            count = self.high - self.low + 1
            return int(self.low + min(math.floor(share * count), count - 1))
        if self.log:
            return float(f"{self.low * (self.high / self.low) ** share:.4g}")
        return float(f"{self.low + share * (self.high - self.low):.4g}")

    @property
    def grid(self) -> list[Value]:
        """All choices, or a few steps of a range."""
        if self.choices:
            return list(self.choices)
        found = [self.at(place / (_STEPS - 1)) for place in range(_STEPS)]
        return list(dict.fromkeys(found))


RECIPES = (
    "fedavg()",
    "task_arithmetic(gain={gain})",
    "ties(density={density}, gain={gain})",
    "dare_ties(density={density}, gain={gain})",
    "model_stock()",
    "min_agree(members=2)",
)
USUAL = (
    f"merge.recipe={'; '.join(RECIPES)}",
    "density=0.05..0.9",
    "gain=0.3..2.0",
)
"""What is searched where nothing is said."""


def read(texts: Sequence[str]) -> list[Variable]:
    """Variables from texts, each name once.

    Raises:
        ConfigError: one is none, or is there twice.
    """
    found = [Variable.read(text) for text in texts or USUAL]
    names = [one.name for one in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"--over {twice[0]} is there twice")
    return found


def settings(chosen: Mapping[str, Value]) -> dict[str, Value]:
    """Keys with their values: names in braces filled in, unused names left out.

    Raises:
        ConfigError: a name in braces that is not varied.

    Example:
        >>> settings({"merge.recipe": "ties(density={d})", "d": 0.2, "gain": 1.0})
        {'merge.recipe': 'ties(density=0.2)'}
    """
    found: dict[str, Value] = {}
    for name, value in chosen.items():
        if "." in name:
            found[name] = _filled(value, chosen)
    return found


def _filled(value: Value, chosen: Mapping[str, Value]) -> Value:
    if not isinstance(value, str):
        return value
    try:
        return re.sub(r"\{(\w+)\}", lambda hit: str(chosen[hit[1]]), value)
    except KeyError as error:
        raise ConfigError(f"{value}: nothing is said of {error}: --over it") from None


def applied(config: Config, given: Mapping[str, Value]) -> Config:
    """A configuration with a trial's settings.

    Raises:
        ConfigError: a key that is none.
    """
    for name in given:
        table, _, key = name.partition(".")
        if not hasattr(getattr(config, table, None), key):
            raise ConfigError(f"--over {name}: there is no such key")
    return changed(config, list(given.items()))


def apart(given: Mapping[str, Value]) -> tuple[str, dict[str, Value]]:
    """What only the merge needs, and what is trained by.

    Example:
        >>> apart({"merge.recipe": "ties()", "train.steps": 2})
        ('ties()', {'train.steps': 2})
    """
    rest = {name: value for name, value in given.items() if name != MERGE}
    return str(given.get(MERGE, "")), rest


def combinations(variables: Sequence[Variable]) -> list[dict[str, Value]]:
    """Every combination of their grids, each setting once."""
    found: dict[str, dict[str, Value]] = {}
    for values in product(*(one.grid for one in variables)):
        chosen = {one.name: v for one, v in zip(variables, values, strict=True)}
        found.setdefault(str(settings(chosen)), chosen)
    return list(found.values())


def _plain(text: str) -> Value:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text, text)

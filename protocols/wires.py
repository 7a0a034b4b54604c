"""Wire formats by name: which places travel, and in what their values are written."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .calls import Call, Value
from .errors import ConfigError
from .grammar import bind, parse

Places: TypeAlias = Literal["all", "gaps", "seeded", "mixed"]
Rounding: TypeAlias = Literal["nearest", "stochastic"]

VALUES = ("fp32", "fp16", "fp8", "sign256", "int8", "int8b64", "int4")
INTEGERS = ("int8", "int8b64", "int4")
AUTO = "auto"
STRIDES = 14
"""A "mixed" payload's seeded tensors keep one of 2^1 to 2^14 elements."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How one tensor travels.

    Attributes:
        values: how a value is written, one of `VALUES`.
        places: "all", "gaps" or "seeded".
        density: the share of its elements that travel, in [0, 1].

    Example:
        >>> Choice("fp8", "gaps", 0.05).most(30), Choice("fp16", "all").most(30)
        (2, 30)
    """

    values: str
    places: Places
    density: float = 1.0

    def most(self, size: int) -> int:
        """How many of `size` elements may travel: the density of them, rounded up."""
        if self.places == "all":
            return size
        product = self.density * size
        near = round(product)
        exact = abs(product - near) <= 1e-9 * max(1, near)
        return min(size, near if exact else int(product) + 1)

    @property
    def kind(self) -> int:
        """As one byte: which of `VALUES`, and 16 times how places travel.

        0: all; 1: as gaps; 1 + j: one of 2^j, drawn by seed.
        """
        how = {"all": 0, "gaps": 1}.get(self.places)
        if how is None:
            how = 1 + round(-math.log2(self.density))
        return VALUES.index(self.values) + 16 * how

    @classmethod
    def of(cls, kind: int) -> "Choice | None":
        """Read `kind` back; None where it is none.

        Example:
            >>> Choice.of(Choice("int4", "seeded", 0.25).kind)
            Choice(values='int4', places='seeded', density=0.25)
        """
        how, values = divmod(kind, 16)
        if values >= len(VALUES) or how > STRIDES + 1:
            return None
        if how <= 1:
            return cls(VALUES[values], "gaps" if how else "all")
        return cls(VALUES[values], "seeded", 2.0 ** (1 - how))


@dataclass(frozen=True, slots=True)
class Wire:
    """A wire format.

    Attributes:
        name: what it is called in a configuration.
        places: "all" values travel; or those at places that travel as "gaps"; or
            those of a "seeded" mask that the receiver draws again; or each tensor as
            it is said in the payload ("mixed").
        values: how a value is written, one of `VALUES`; empty where it is mixed.
        density: the share of a tensor's elements that travel, in (0, 1].
        rounding: of integers, to the "nearest" or "stochastic" (right on average).
        shared: whether the mask is the same for all clients of a round.

    Example:
        >>> str(wire("sparse(0.1)"))
        "sparse(density=0.1, values='fp8')"
        >>> wire("dare(0.1, values='int4', rounding='stochastic')").unbiased
        True
    """

    name: str
    places: Places
    values: str
    density: float = 1.0
    rounding: Rounding = "nearest"
    shared: bool = False

    def __str__(self) -> str:
        given: dict[str, Value] = {}
        if self.name in ("sparse", "dare", "masked"):
            given["density"] = self.density
        if self.places in ("gaps", "seeded"):
            given["values"] = self.values
        if self.rounding != "nearest":
            given["rounding"] = self.rounding
        return str(Call(self.name, kwargs=given)) if given else self.name

    @property
    def choice(self) -> Choice:
        """How each of its tensors travels, where all travel alike."""
        return Choice(self.values, self.places, self.density)

    @property
    def gain(self) -> float:
        """What values are multiplied by before they are written."""
        return 1 / self.density if self.name == "dare" else 1.0

    @property
    def unbiased(self) -> bool:
        """Whether what is decoded is right on average (up to float32's rounding)."""
        exact = self.values == "fp32" or self.rounding == "stochastic"
        return exact and (self.places == "all" or self.name == "dare")

    def most(self, size: int) -> int:
        """The largest number of a tensor's `size` elements that may travel.

        Example:
            >>> wire("sparse(density=0.05)").most(30), wire("fp16").most(30)
            (2, 30)
        """
        return size if self.places == "mixed" else self.choice.most(size)


def sparse(density: float = 0.05, values: "str | Wire" = "fp8") -> Wire:
    """The largest of each tensor, by magnitude."""
    return Wire("sparse", "gaps", _values(values), _density(density))


def moved(values: "str | Wire" = "sign256") -> Wire:
    """All that is not zero, with a mask of what that is.

    For whole weights in bfloat16, of which a round of training moves a few: one bit a
    value would make every other element move as well.
    """
    return Wire("moved", "gaps", _values(values))


def dare(
    density: float = 0.1, values: "str | Wire" = "fp16", rounding: str = "nearest"
) -> Wire:
    """A seeded random share, rescaled by 1 / density: the mask costs no bytes.

    Yu et al., `Language Models are Super Mario <https://arxiv.org/abs/2311.03099>`_
    (2023).
    """
    name = _values(values)
    return Wire("dare", "seeded", name, _density(density), _rounding(name, rounding))


def masked(density: float = 0.1, values: "str | Wire" = "fp8") -> Wire:
    """A seeded random share as it is, the same for all clients of a round.

    With feedback: what a round leaves out is sent in a later one.
    """
    share = _density(density)
    return Wire("masked", "seeded", _values(values), share, shared=True)


def mixed() -> Wire:
    """Each tensor in a format of its own, which the payload says."""
    return Wire("mixed", "mixed", "", shared=True)


def auto() -> Wire:
    """What carries most energy in the bytes there are: each client chooses."""
    return Wire(AUTO, "mixed", "", shared=True)


def _values(values: "str | Wire") -> str:
    name = values.name if isinstance(values, Wire) else values
    if name not in VALUES:
        raise ConfigError(f"values is {name!r}, allowed: {', '.join(VALUES)}")
    return name


def _density(density: float) -> float:
    if not 0 < density <= 1:
        raise ConfigError(f"density is {density}, expected a share above 0, at most 1")
    return float(density)


def _rounding(values: str, rounding: str) -> Rounding:
    if rounding == "nearest":
        return "nearest"
    if rounding != "stochastic" or values not in INTEGERS:
        raise ConfigError(
            f"rounding is {rounding!r}, allowed: 'nearest', and 'stochastic' for "
            f"{', '.join(INTEGERS)}"
        )
    return "stochastic"


def _all(name: str) -> Callable[..., Wire]:
    if name in INTEGERS:
        return lambda rounding="nearest": Wire(
            name, "all", name, rounding=_rounding(name, rounding)
        )
    return lambda: Wire(name, "all", name)


FACTORIES: Mapping[str, Callable[..., Wire]] = {
    **{name: _all(name) for name in VALUES},
    "sparse": sparse,
    "moved": moved,
    "dare": dare,
    "masked": masked,
    "mixed": mixed,
    "auto": auto,
}


def wire(text: str) -> Wire:
    """A format from its text.

    Raises:
        ConfigError: no such format, or not with these arguments.
    """
    found = bind(parse(text), FACTORIES)
    if not isinstance(found, Wire):
        raise ConfigError(f"{text!r} is no wire format")
    return found

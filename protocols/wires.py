"""Wire formats by name: which places travel, and in what their values are written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .calls import Call, Value
from .errors import ConfigError
from .grammar import bind, parse

Places: TypeAlias = Literal["all", "gaps", "seeded"]

VALUES = ("fp32", "fp16", "fp8", "sign256")


@dataclass(frozen=True, slots=True)
class Wire:
    """A wire format.

    Attributes:
        name: what it is called in a configuration.
        places: "all" values travel; or those at places that travel as "gaps"; or
            those of a "seeded" mask that the receiver draws again.
        values: how a value is written, one of `VALUES`.
        density: the share of a tensor's elements that travel, in (0, 1].

    Example:
        >>> str(wire("sparse(0.1)"))
        "sparse(density=0.1, values='fp8')"
    """

    name: str
    places: Places
    values: str
    density: float = 1.0

    def __str__(self) -> str:
        if self.places == "all":
            return self.name
        given: dict[str, Value] = {"density": self.density, "values": self.values}
        return str(Call(self.name, kwargs=given))

    def most(self, size: int) -> int:
        """The largest number of a tensor's `size` elements that may travel.

        Example:
            >>> wire("sparse(density=0.05)").most(30), wire("fp16").most(30)
            (2, 30)
        """
        if self.places == "all":
            return size
        product = self.density * size
        near = round(product)
        exact = abs(product - near) <= 1e-9 * max(1, near)
        return min(size, near if exact else int(product) + 1)


def sparse(density: float = 0.05, values: "str | Wire" = "fp8") -> Wire:
    """The largest of each tensor, by magnitude."""
    return Wire("sparse", "gaps", _values(values), _density(density))


def dare(density: float = 0.1, values: "str | Wire" = "fp16") -> Wire:
    """A seeded random share, rescaled by 1 / density: the mask costs no bytes.

    Yu et al., `Language Models are Super Mario <https://arxiv.org/abs/2311.03099>`_
    (2023).
    """
    return Wire("dare", "seeded", _values(values), _density(density))


def _values(values: "str | Wire") -> str:
    name = values.name if isinstance(values, Wire) else values
    if name not in VALUES:
        raise ConfigError(f"values is {name!r}, allowed: {', '.join(VALUES)}")
    return name


def _density(density: float) -> float:
    if not 0 < density <= 1:
        raise ConfigError(f"density is {density}, expected a share above 0, at most 1")
    return float(density)


def _all(name: str) -> Callable[[], Wire]:
    return lambda: Wire(name, "all", name)


FACTORIES: Mapping[str, Callable[..., Wire]] = {
    **{name: _all(name) for name in VALUES},
    "sparse": sparse,
    "dare": dare,
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

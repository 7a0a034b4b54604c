"""What a text of the small language says: a name with arguments."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Value: TypeAlias = "int | float | str | bool | Call | tuple[Value, ...] | None"


@dataclass(frozen=True, slots=True)
class Call:
    """A name with arguments.

    Attributes:
        name: what is called; "pipe" for ``A | B``.
        args: positional arguments, in order.
        kwargs: keyword arguments, in the order written.

    Example:
        >>> str(Call("ties", kwargs={"density": 0.2}))
        'ties(density=0.2)'
    """

    name: str
    args: tuple[Value, ...] = ()
    kwargs: Mapping[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.name == "pipe" and len(self.args) > 1 and not self.kwargs:
            return " | ".join(_written(one) for one in self.args)
        given = [_written(one) for one in self.args]
        given += [f"{name}={_written(one)}" for name, one in self.kwargs.items()]
        return f"{self.name}({', '.join(given)})"


def _written(value: Value) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_written(one) for one in value)}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return str(value)

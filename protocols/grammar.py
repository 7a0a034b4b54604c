"""The small language of recipes and wire formats: read, never evaluated.

::

    pipe   =  value ("|" value)*
    value  =  number | string | True | False | None | list | call
    list   =  "[" [value ("," value)*] "]" | "(" [value ("," value)*] ")"
    call   =  name ["(" [argument ("," argument)*] ")"]
    argument = [name "="] pipe

A bare name is a call without arguments: ``fedavg`` is ``fedavg()``. ``A | B`` is
``pipe(A, B)``. Round brackets around one value without a comma only group.
"""

import re

from .bindings import bind
from .calls import Call, Value
from .errors import ConfigError

__all__ = ["Call", "Value", "bind", "parse"]

LONGEST = 4096
DEEPEST = 24

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<string>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')"
    r"|(?P<sign>[()\[\],=|])|(?P<end>$))"
)
_WORDS: dict[str, bool | None] = {
    "True": True,
    "False": False,
    "true": True,
    "false": False,
    "None": None,
}


def parse(text: str) -> Call:
    """Read one call (or a pipe of calls).

    Raises:
        ConfigError: with a caret under the place that does not fit.

    Example:
        >>> parse("dare(density=0.1)")
        Call(name='dare', args=(), kwargs={'density': 0.1})
        >>> parse("ties(density=)")
        Traceback (most recent call last):
        fedelta.protocols.errors.ConfigError: expected a value
          ties(density=)
                       ^
    """
    reader = _Reader(text)
    value = reader.pipe()
    if reader.kind != "end":
        raise reader.error("expected the end, '|' or nothing more")
    if not isinstance(value, Call):
        raise ConfigError(f"expected a name such as fedavg, not {text.strip()!r}")
    return value


class _Reader:
    """Walks the text one token at a time."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = self.after = 0
        self.depth = 0
        self.kind = self.token = ""
        if len(text) > LONGEST:
            raise ConfigError(f"a recipe has at most {LONGEST} characters")
        self.step()

    def error(self, reason: str) -> ConfigError:
        shown = re.sub(r"\s", " ", self.text)
        return ConfigError(f"{reason}\n  {shown}\n  {' ' * self.at}^")

    def step(self) -> str:
        """Move on; give the token left behind."""
        left = self.token
        self.at = self.after
        found = _TOKEN.match(self.text, self.after)
        if found is None or found.lastgroup is None:
            blank = re.compile(r"\s*").match(self.text, self.after)
            self.at = self.after if blank is None else blank.end()
            raise self.error("this character has no meaning here")
        self.kind, self.token = found.lastgroup, found[found.lastgroup]
        self.at, self.after = found.start(found.lastgroup), found.end()
        return left

    def take(self, sign: str) -> bool:
        if self.kind == "sign" and self.token == sign:
            self.step()
            return True
        return False

    def expect(self, sign: str) -> None:
        if not self.take(sign):
            raise self.error(f"expected {sign!r}")

    def pipe(self) -> Value:
        first = self.value()
        parts = [first]
        while self.take("|"):
            parts.append(self.value())
        return first if len(parts) == 1 else Call("pipe", tuple(parts))

    def value(self) -> Value:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.error(f"nested deeper than {DEEPEST}")
        given = self._value()
        self.depth -= 1
        return given

    def _value(self) -> Value:
        if self.kind == "number":
            return self.number()
        if self.kind == "string":
            return re.sub(r"\\(.)", r"\1", self.step()[1:-1], flags=re.DOTALL)
        if self.kind == "name":
            return self.call()
        if self.take("["):
            return self.items("]")[0]
        if self.take("("):
            items, comma = self.items(")")
            return items[0] if len(items) == 1 and not comma else items
        raise self.error("expected a value")

    def number(self) -> int | float:
        token = self.token
        value = int(token) if re.fullmatch(r"[+-]?\d{1,18}", token) else float(token)
        if abs(value) == float("inf"):
            raise self.error("too large a number")
        self.step()
        return value

    def items(self, close: str) -> tuple[tuple[Value, ...], bool]:
        """The values up to `close`, and whether a comma stood among them."""
        items: list[Value] = []
        comma = False
        while not self.take(close):
            if items and not comma:
                self.expect(",")
            items.append(self.pipe())
            comma = self.take(",")
            if not comma:
                self.expect(close)
                return tuple(items), len(items) > 1
        return tuple(items), comma

    def call(self) -> Value:
        name = self.step()
        if name in _WORDS:
            return _WORDS[name]
        args: list[Value] = []
        kwargs: dict[str, Value] = {}
        if self.take("("):
            while not self.take(")"):
                self.argument(args, kwargs)
                if not self.take(","):
                    self.expect(")")
                    break
        return Call(name, tuple(args), kwargs)

    def argument(self, args: list[Value], kwargs: dict[str, Value]) -> None:
        name = self.token if self.kind == "name" else ""
        if not name or not self.text[self.after :].lstrip().startswith("="):
            if kwargs:
                raise self.error("a value without a name cannot follow a named one")
            args.append(self.pipe())
            return
        if name in kwargs:
            raise self.error(f"{name} is given twice")
        self.step()
        self.expect("=")
        kwargs[name] = self.pipe()

"""Calls of the small language handed to factories of ours."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_type_hints

from .calls import Call, Value
from .errors import ConfigError

_PLAIN: dict[Any, tuple[type, ...]] = {
    float: (int, float),
    int: (int,),
    str: (str,),
    bool: (bool,),
}


def nearest(name: str, allowed: Iterable[str]) -> str:
    """What to say about an unknown name.

    Example:
        >>> nearest("tis", ["ties", "fedavg"])
        "did you mean 'ties'? allowed: fedavg, ties"
    """
    names = sorted(allowed)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed: {', '.join(names) or 'nothing'}"


def bind(call: Call, functions: Mapping[str, Callable[..., Any]]) -> Any:
    """Call factories by name, innermost first.

    Args:
        call: what `parse` read.
        functions: the factories, by the name that the text may use. Types in a
            factory's own ``varies`` are taken in the place of any plain one.

    Returns:
        What the outermost factory returned.

    Raises:
        ConfigError: unknown name or keyword, a missing or superfluous argument, a
            value of another type than the factory's annotation.

    Example:
        >>> bind(Call("scaled", (2,)), {"scaled": lambda by: by * 10})
        20
        >>> bind(Call("scald", (2,)), {"scaled": int})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        fedelta.protocols.errors.ConfigError: unknown name 'scald': did you mean ...
    """
    factory = functions.get(call.name)
    if factory is None:
        if call.name == "pipe":
            raise ConfigError("'|' has no meaning here")
        raise ConfigError(
            f"unknown name {call.name!r}: {nearest(call.name, functions)}"
        )
    args = [_bound(one, functions) for one in call.args]
    kwargs = {name: _bound(one, functions) for name, one in call.kwargs.items()}
    _check(call.name, factory, args, kwargs)
    return factory(*args, **kwargs)


def _bound(value: Value, functions: Mapping[str, Callable[..., Any]]) -> Any:
    if isinstance(value, Call):
        return bind(value, functions)
    if isinstance(value, tuple):
        return tuple(_bound(one, functions) for one in value)
    return value


def _check(
    name: str, factory: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> None:
    signature = inspect.signature(factory)
    parameters = signature.parameters.values()
    if not any(one.kind is one.VAR_KEYWORD for one in parameters):
        for key in kwargs.keys() - signature.parameters.keys():
            said = nearest(key, signature.parameters)
            raise ConfigError(f"{name} has no argument {key!r}: {said}")
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        raise ConfigError(f"{name}{_shown(signature)}: {error}") from None
    hints = get_type_hints(factory) if inspect.isroutine(factory) else {}
    varies: tuple[type, ...] = getattr(factory, "varies", ())
    for key, value in given.items():
        wanted = _PLAIN.get(hints.get(key))
        variadic = signature.parameters[key].kind in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        )
        if wanted is None or variadic or isinstance(value, varies):
            continue
        if not isinstance(value, wanted) or (
            isinstance(value, bool) and bool not in wanted
        ):
            raise ConfigError(
                f"{name}: {key} is {value!r}, expected {hints[key].__name__}"
            )


def _shown(signature: inspect.Signature) -> str:
    return f"({', '.join(signature.parameters)})"

"""TOML files of fixed tables: read into frozen dataclasses, wrong keys refused."""

import difflib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ...protocols.errors import ConfigError

Table = TypeVar("Table")


def read(path: Path, kind: type[Table]) -> Table:
    """Read a file of tables.

    Args:
        path: a TOML file.
        kind: a frozen dataclass whose fields are values or further tables.

    Raises:
        ConfigError: not there, not TOML, an unknown key, or a value of the wrong kind;
            the message names file and key.
    """
    try:
        given = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    return parse(given, kind, str(path))


def parse(given: Mapping[str, Any], kind: type[Table], where: str) -> Table:
    """Tables of plain values into a dataclass.

    Raises:
        ConfigError: an unknown key or a value of the wrong kind.

    Example:
        >>> from fedelta.protocols.settings import Config
        >>> parse({"train": {"step": 4}}, Config, "x.toml")
        Traceback (most recent call last):
        fedelta.protocols.errors.ConfigError: x.toml: there is no key train.step: did \
you mean steps?
    """
    _known(kind, given, "", where)
    try:
        return TypeAdapter(kind).validate_json(
            json.dumps(given, default=str), strict=True
        )
    except ValidationError as error:
        one = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in one["loc"])
        said = one["msg"].removeprefix("Input ").replace("should be", "must be")
        raise ConfigError(f"{where}: {path} {said}, not {one['input']!r}") from error


def _known(kind: Any, given: Mapping[str, Any], path: str, where: str) -> None:
    hints = get_type_hints(kind)
    allowed = [one.name for one in fields(kind)]
    for key, value in given.items():
        if key not in hints:
            near = difflib.get_close_matches(key, allowed, 1)
            hint = (
                f"did you mean {near[0]}?"
                if near
                else f"there are {', '.join(allowed)}"
            )
            raise ConfigError(f"{where}: there is no key {path}{key}: {hint}")
        if is_dataclass(hints[key]):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{where}: {path}{key} must be a table")
            _known(hints[key], value, f"{path}{key}.", where)

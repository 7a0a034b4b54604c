"""A run's configuration: TOML files, presets and ``--set`` into one frozen `Config`.

Later layers win: the defaults of `fedelta.protocols.settings`, a preset, a file,
then each ``--set table.key=value``. Keys that no table has are refused with the
nearest right one.
"""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ..protocols.errors import ConfigError
from ..protocols.settings import Config, Gate
from . import checks, defaults

DEFAULT_PRESET = "icd10"
_PRESETS = files(__package__ or "") / "presets"
_ADAPTER = TypeAdapter(Config)
_PATHS = (
    ("model", "id"),
    ("model", "cache"),
    ("data", "source"),
    ("data", "folder"),
    ("data", "test"),
    ("gate", "source"),
)
"""Keys that can name a file or a folder (and so can each client's ``data``)."""


def presets() -> tuple[str, ...]:
    """Names of the presets that come with the package.

    Example:
        >>> "icd10" in presets()
        True
    """
    names = (entry.name for entry in _PRESETS.iterdir())
    return tuple(sorted(n.removesuffix(".toml") for n in names if n.endswith(".toml")))


def load(
    source: Path | None = None,
    *,
    preset: str | None = None,
    overrides: Sequence[str] = (),
) -> Config:
    """Read a configuration and check that it can be run.

    Args:
        source: a TOML file; without one and without a preset, the default preset.
            Files and folders that it names are those beside it; what is not there is
            looked for from the working folder on.
        preset: a preset's name, which lies under the file.
        overrides: texts such as ``"train.steps=16"``; the value is TOML, and text
            that is none is taken as a string.

    Raises:
        ConfigError: a file that cannot be read, an unknown key, a wrong value, or
            settings that do not go together; the message names the key.

    Example:
        >>> load(overrides=["run.rounds=5", "merge.recipe=fedavg"]).run.rounds
        5
    """
    if not preset and source is None:
        preset = DEFAULT_PRESET
    tables: dict[str, Any] = {}
    if preset:
        _overlay(tables, _preset(preset))
    if source is not None:
        _overlay(tables, _placed(_toml(source), source.parent))
    for text in overrides:
        _overlay(tables, _override(text))
    defaults.fill(tables)
    config = validate(tables)
    checks.check(config)
    return config


def validate(tables: Mapping[str, Any]) -> Config:
    """Tables of plain values into a `Config`.

    Raises:
        ConfigError: an unknown key or a value of the wrong kind.

    Example:
        >>> validate({"train": {"step": 4}})
        Traceback (most recent call last):
        fedelta.protocols.errors.ConfigError: there is no key train.step: did you \
mean train.steps?
    """
    _known(Config, tables, "")
    try:
        return _ADAPTER.validate_json(json.dumps(tables, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def config_json(config: Config) -> str:
    """Canonical text of a configuration: the same value, the same text."""
    return json.dumps(asdict(config), sort_keys=True, separators=(",", ":"))


def config_from_json(text: str) -> Config:
    """Read `config_json` back.

    Raises:
        ConfigError: not a configuration.

    Example:
        >>> config_from_json(config_json(Config())) == Config()
        True
    """
    try:
        tables = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"the configuration is not JSON: {error}") from error
    if not isinstance(tables, dict):
        raise ConfigError("the configuration is not a JSON object")
    return validate(tables)


def introduction(config: Config, run: str) -> dict[str, Any]:
    """What a record's first line says of a run, whoever writes it."""
    return {
        "run": run,
        "name": config.run.name,
        "seed": config.run.seed,
        "rounds": config.run.rounds,
        "recipe": config.merge.recipe,
        "metric": config.eval.metric,
    }


def run_id(config: Config) -> str:
    """16 hex digits that name a run: its settings but what changes no model.

    Example:
        >>> from dataclasses import replace
        >>> from fedelta.protocols.settings import Run
        >>> run_id(Config()) == run_id(replace(Config(), run=Run(name="b", out="x")))
        True
    """
    tables = asdict(config)
    for key in ("name", "out", "engine", "tensorboard", "export"):
        del tables["run"][key]
    del tables["plan"], tables["data"]["hand_on"]
    for client in tables["clients"]:
        for key in ("line_up", "line_down", "gflops", "hand_on"):
            del client[key]
    del tables["personal"]
    if config.gate == Gate():
        del tables["gate"]
    for table, key in (("train", "phases"), ("data", "only")):
        if not tables[table][key]:  # runs that knew no such key keep their names
            del tables[table][key]
    text = json.dumps(tables, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _preset(name: str) -> dict[str, Any]:
    if name not in presets():
        near = difflib.get_close_matches(name, presets(), 1)
        hint = (
            f"did you mean {near[0]}?" if near else "there are " + ", ".join(presets())
        )
        raise ConfigError(f"there is no preset {name!r}: {hint}")
    return tomllib.loads((_PRESETS / f"{name}.toml").read_text("utf-8"))


def _toml(source: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(source.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: is not TOML: {error}") from error


def _placed(tables: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Tables of a file, with what they name beside it as it is found from here."""
    from ..client.data import BUILT_IN
    from ..client.loading import HUB

    clients = tables.get("clients")
    places = [(tables.get(table), key) for table, key in _PATHS]
    places += [(one, "data") for one in clients] if isinstance(clients, list) else []
    for table, key in places:
        if not isinstance(table, dict):
            continue
        name = table.get(key)
        if not isinstance(name, str) or name in ("", *BUILT_IN, *HUB):
            continue
        here, typed = folder / name, Path(name)
        if here.exists() and not (typed.exists() and here.samefile(typed)):
            table[key] = str(here)
    return tables


def _override(text: str) -> dict[str, Any]:
    path, equals, value = text.partition("=")
    table, dot, key = path.strip().partition(".")
    if not (equals and dot and table and key):
        raise ConfigError(f"--set {text}: write it as table.key=value")
    _known(Config, {table: {key: None}}, "")
    kind = get_type_hints(get_type_hints(Config)[table]).get(key)
    return {table: {key: value.strip() if kind is str else _value(value.strip())}}


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text


def _overlay(under: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(under.get(key), dict):
            under[key].update(value)
        else:
            under[key] = dict(value) if isinstance(value, Mapping) else value


def _known(kind: type[Any], given: Any, path: str) -> None:
    """Refuse keys that a table does not have, before types are looked at."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{path.rstrip('.') or 'the file'} must be a table")
    hints = get_type_hints(kind)
    for key, value in given.items():
        if key not in hints:
            raise ConfigError(_unknown(path, str(key), [f.name for f in fields(kind)]))
        _deeper(hints[key], value, f"{path}{key}")


def _deeper(hint: Any, value: Any, path: str) -> None:
    if is_dataclass(hint) and isinstance(hint, type):
        _known(hint, value, f"{path}.")
    elif get_origin(hint) is tuple and is_dataclass(get_args(hint)[0]):
        if not isinstance(value, list):
            raise ConfigError(f"{path} must be a list of tables: write [[{path}]]")
        for place, entry in enumerate(value):
            _known(get_args(hint)[0], entry, f"{path}[{place}].")


def _unknown(path: str, key: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, allowed, 1)
    if near:
        return f"there is no key {path}{key}: did you mean {path}{near[0]}?"
    everywhere = [
        f"{table}.{key}"
        for table, hint in get_type_hints(Config).items()
        if is_dataclass(hint) and key in get_type_hints(hint)
    ]
    hint = f"did you mean {everywhere[0]}? " if everywhere else ""
    return f"there is no key {path}{key}: {hint}allowed are {', '.join(allowed)}"


def _explain(error: ValidationError) -> str:
    lines: dict[str, list[str]] = {}
    for one in error.errors(include_url=False):
        spots = [
            str(part) for part in one["loc"] if part not in ("str", "int", "float")
        ]
        said = one["msg"].removeprefix("Input ").replace("should be", "must be")
        lines.setdefault(".".join(spots), []).append(f"{said}, not {one['input']!r}")
    return "; ".join(f"{path}: {' or '.join(said)}" for path, said in lines.items())

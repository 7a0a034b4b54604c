"""A first configuration, written from what lies in a folder of data files."""

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from ..client import tables
from ..client.data import Task
from ..protocols.errors import ConfigError
from ..protocols.settings import Config

_MARKS = ("dataset_info.json", "state.json", "dataset_dict.json")
_TEST = ("test", "heldout", "held_out", "eval")
_TEXT = ("text", "sentence", "content", "note", "document", "body", "description")
_LABEL = ("label", "labels", "class", "category", "target", "domain")
_MESSAGES = ("messages", "conversation", "conversations", "chat")
_PROMPT = ("prompt", "instruction", "question", "input")
_COMPLETION = ("completion", "response", "answer", "output")
_OWNER = ("client", "site", "hospital", "owner", "institution", "region", "source")
_LEAST = 2
"""Files of which each is a client's; one alone is dealt among simulated clients."""

_CAUSAL: Mapping[str, Mapping[str, Any]] = {
    "train": {"batch": 8, "learning_rate": 1e-3, "max_length": 256},
    "lora": {"targets": ["q_proj", "v_proj"]},
}
"""What a language model needs other than an encoder."""

_SHOWN: Mapping[str, tuple[str, ...]] = {
    "run": ("rounds", "seed"),
    "train": ("steps", "batch", "learning_rate", "max_length"),
    "lora": ("rank", "alpha", "targets"),
    "merge": ("recipe", "weights"),
    "wire": ("up",),
    "round": ("clients", "quorum"),
    "eval": ("where", "keep", "early_stop"),
}
"""Keys that are shown with their defaults, commented out."""


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in a folder.

    Attributes:
        task: what can be learned from it, as ``model.task`` says it.
        columns: the [data] keys of the columns, with the columns' names.
        sources: one file or `datasets` folder each, in name order.
        test: the one that is kept for testing; None: a share of the others is.
        owner: the column that says whose a row is, where there is one source.
    """

    task: str
    columns: Mapping[str, str]
    sources: Sequence[Path]
    test: Path | None
    owner: str


def find(folder: Path) -> Found:
    """See what a folder holds.

    Raises:
        ConfigError: nothing that can be read, or files of different shapes.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder")
    paths = [one for one in sorted(folder.iterdir()) if _readable(one)]
    tests = [one for one in paths if one.stem.lower() in _TEST]
    sources = [one for one in paths if one not in tests]
    if not sources:
        raise ConfigError(
            f"{folder} holds no data: put in a file a client "
            f"({', '.join(tables.SUFFIXES)}) or a `datasets` folder"
        )
    shapes = {one: _shape(one) for one in [*sources, *tests]}
    first = sources[0]
    for one, shape in shapes.items():
        if shape != shapes[first]:
            raise ConfigError(
                f"{one} has other columns than {first}: {_told(shape)}, not "
                f"{_told(shapes[first])}"
            )
    task, columns = shapes[first]
    alone = len(sources) < _LEAST
    names = tables.load(str(first)).column_names if alone else []
    owner = next((name for name in _OWNER if name in names), "")
    if owner in columns.values():
        owner = ""
    return Found(task, columns, sources, tests[0] if tests else None, owner)


def draft(folder: Path) -> str:
    """A commented configuration for a folder's data, as TOML."""
    found = find(folder)
    causal = found.task == "causal-lm"
    parts = [
        "# Written by `fedelta init`. Keys that are commented out show their defaults;",
        "# docs/configuration.md has all of them.",
        "",
        *_table("run", {"name": folder.resolve().name}),
        *_table(
            "model",
            {"id": "smollm2" if causal else "minilm", "task": found.task},
            more={} if causal else {"head": "cosine"},
        ),
        *_table("data", _data(found)),
        *[
            line
            for name in ("train", "lora", "merge", "wire", "round", "eval")
            for line in _table(name, _CAUSAL.get(name, {}) if causal else {})
        ],
    ]
    if len(found.sources) >= _LEAST:
        parts += [f"# {_words('clients')['region']}: region = ..."]
        for path, name in zip(found.sources, _names(found.sources), strict=True):
            parts += ["[[clients]]", f"name = {_toml(name)}"]
            parts += [f"data = {_toml(str(path))}", ""]
    return "\n".join(parts).rstrip() + "\n"


def learned(config: Config) -> str:
    """What will be learned from the columns that were found."""
    data = config.data
    if config.model.task != "causal-lm":
        return f"classes in column {data.label!r}, from {data.text!r}"
    columns = (data.messages,) if data.messages else (data.prompt, data.completion)
    if any(columns):
        return f"a language model on {' and '.join(map(repr, columns))}"
    return f"a language model on {data.text!r}; for classes call a column 'label'"


def rows(task: Task) -> Iterator[tuple[str, str, str, str, str]]:
    """What each client has: name, region, training, validation, and of what most."""
    for name, examples in task.clients.items():
        own, held = task.split(name)
        counts = [(examples.labels == place).sum() for place in range(len(task.labels))]
        order = sorted(range(len(counts)), key=lambda place: -counts[place])
        most = ", ".join(
            f"{task.labels[place]} {counts[place]}"
            for place in order[:4]
            if counts[place]
        )
        yield name, task.regions.get(name, ""), str(len(own)), str(len(held)), most


def _readable(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return any((path / mark).exists() for mark in _MARKS)
    return path.suffix.lower() in tables.SUFFIXES


def _shape(path: Path) -> tuple[str, dict[str, str]]:
    """Task and columns of one source."""
    table = tables.load(str(path))
    names = {name.lower(): name for name in table.column_names}

    def first(wanted: Sequence[str]) -> str:
        return next((names[name] for name in wanted if name in names), "")

    label = first(_LABEL)
    own = {"label": label} if label else {}
    if messages := first(_MESSAGES):
        return "causal-lm", {"messages": messages} | own
    prompt, completion = first(_PROMPT), first(_COMPLETION)
    if prompt and completion:
        return "causal-lm", {"prompt": prompt, "completion": completion} | own
    text = first(_TEXT)
    if not text:
        raise ConfigError(
            f"{path}: none of its columns is known to hold text "
            f"({', '.join(table.column_names)}); name one of them text, or write the "
            "configuration by hand"
        )
    return ("classification" if label else "causal-lm"), {"text": text} | own


def _told(shape: tuple[str, Mapping[str, str]]) -> str:
    return f"{shape[0]} by {', '.join(shape[1].values())}"


def _data(found: Found) -> dict[str, Any]:
    keys: dict[str, Any] = dict(found.columns)
    if len(found.sources) < _LEAST:
        keys["source"] = str(found.sources[0])
        if found.owner:
            keys["partition"] = f"column:{found.owner}"
        else:
            keys["clients"] = 4
            keys["partition"] = "dirichlet" if "label" in found.columns else "iid"
    keys["test"] = str(found.test) if found.test else 0.2
    return keys


def _names(paths: Sequence[Path]) -> list[str]:
    """Client names of files: what the rules for names leave of the stems."""
    stems = [re.sub(r"[^A-Za-z0-9._-]+", "-", one.stem).strip("-._") for one in paths]
    return [
        stem if stem and stems.count(stem) == 1 else f"client-{place:02}"
        for place, stem in enumerate(stems)
    ]


def _table(
    name: str, given: Mapping[str, Any], more: Mapping[str, Any] | None = None
) -> list[str]:
    """One table: what is given, then what may be changed, commented out."""
    kind = get_type_hints(Config)[name]
    words = _words(name)
    usual = {one.name: one.default for one in fields(kind)}
    shown = {key: usual[key] for key in _SHOWN.get(name, ())} | dict(more or {})
    lines = [f"[{name}]"]
    lines += [f"{key} = {_toml(value)}  # {words[key]}" for key, value in given.items()]
    lines += [
        f"# {key} = {_toml(value)}  # {words[key]}"
        for key, value in shown.items()
        if key not in given
    ]
    return [*lines, ""]


def _words(name: str) -> dict[str, str]:
    """What a table's class says of each key, its first sentence."""
    hint = get_type_hints(Config)[name]
    kind = hint if inspect.isclass(hint) else hint.__args__[0]
    text = (inspect.getdoc(kind) or "").split("Attributes:", 1)[-1]
    pattern = r"^ {4}(\w+): (.*?)(?=^ {4}\w+: |\Z)"
    told = re.findall(pattern, text, re.DOTALL | re.MULTILINE)
    return {
        key: re.split(r"(?<=[a-z)\"])[.;:] ", " ".join(said.split()))[0].rstrip(".")
        for key, said in told
    }


def _toml(value: Any) -> str:
    """A plain value as TOML: JSON's way of writing it is TOML's too."""
    return json.dumps(
        list(value) if isinstance(value, tuple) else value, ensure_ascii=False
    )

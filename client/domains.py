"""The built-in set "domains": five kinds of text that are little alike.

``code``: functions of Python's own library. ``licences``: paragraphs of licence texts
(package ``licensedcode-data``, CC-BY-4.0). ``medicine``: categories of the ICD-10-CM
(package ``simple-icd-10-cm``). ``arithmetic`` and ``logic``: prompts with answers,
drawn here. Every domain has as many texts.
"""

import ast
import re
import sysconfig
import textwrap
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from ..protocols import seeds
from ..protocols.errors import ConfigError
from . import drills, icd10, texts
from .groups import Group

TEXTS = 400
"""Texts of each domain, test texts among them."""

LONGEST = 800
"""Characters of a text; what is longer is cut at a line."""

SHORTEST = 160
A_GROUP = 4
"""At most so many texts come from one module or one licence."""


@cache
def groups() -> tuple[Group, ...]:
    """All five domains, as scripts.

    Raises:
        ConfigError: a data package is not installed.
    """
    found: list[Group] = []
    for label, source in SOURCES.items():
        held = 0
        for name, some in source():
            kept = tuple(some[: min(A_GROUP, TEXTS - held)])
            if kept:
                found.append(Group(name, label, kept))
            held += len(kept)
            if held == TEXTS:
                break
    return tuple(found)


Named = Iterator[tuple[str, list[str]]]


def code() -> Named:
    """Functions and classes' methods by module, modules in a keyed order."""
    home = Path(sysconfig.get_path("stdlib"))
    files = sorted(one for one in home.glob("*.py") if not one.stem.startswith("_"))
    for place in seeds.permutation(seeds.key("domains", "code"), len(files)):
        file = files[int(place)]
        source = file.read_text("utf-8")
        lines = source.splitlines(keepends=True)
        found = [
            textwrap.dedent("".join(lines[node.lineno - 1 : node.end_lineno]))
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node)
        ]
        yield file.stem, [texts.plain(cut(one)) for one in found if _long(one)]


def licences() -> Named:
    """Paragraphs by licence; one that an earlier licence has too is left out."""
    files = sorted(_package("licensedcode", "data/licenses").glob("*.LICENSE"))
    if not files:
        raise ConfigError(_missing("licensedcode-data"))
    seen: set[str] = set()
    for place in seeds.permutation(seeds.key("domains", "licences"), len(files)):
        file = files[int(place)]
        body = file.read_text("utf-8").partition("---\n")[2].partition("---\n")[2]
        parts = [re.sub(r"\s+", " ", one).strip() for one in body.split("\n\n")]
        fresh = [one for one in parts if _long(one) and not _runs(one) & seen]
        for one in parts:
            seen |= _runs(one)
        yield file.stem, [texts.plain(cut(one)) for one in fresh]


def medicine() -> Named:
    """One text a medical category: its code, its chapter, what it holds."""
    found = icd10.categories()
    for place in seeds.permutation(seeds.key("domains", "medicine"), len(found)):
        one = found[int(place)]
        listed = "\n".join(f"- {text}" for text in one.texts)
        whole = f"ICD-10-CM {one.name} ({one.label})\n{listed}"
        if _long(whole):
            yield one.name, [texts.plain(cut(whole))]


def arithmetic() -> Named:
    """Calculations, each a group of its own."""
    return _each(drills.arithmetic(seeds.key("domains", "arithmetic"), 2 * TEXTS))


def logic() -> Named:
    """Conclusions, each a group of its own."""
    return _each(drills.logic(seeds.key("domains", "logic"), 2 * TEXTS))


SOURCES = {
    "arithmetic": arithmetic,
    "code": code,
    "licences": licences,
    "logic": logic,
    "medicine": medicine,
}


def cut(text: str, longest: int = LONGEST) -> str:
    """A text's beginning, up to its last whole line or word.

    Example:
        >>> cut("one two three", 9)
        'one two'
    """
    if len(text) <= longest:
        return text
    head = text[:longest]
    for mark in ("\n", " "):
        if (end := head.rfind(mark)) > longest // 2:
            return head[:end]
    return head


def _each(drawn: list[drills.Drill]) -> Named:
    distinct = dict.fromkeys(drawn)
    for place, (prompt, answer) in enumerate(islice(distinct, TEXTS)):
        yield str(place), [texts.pair(prompt, answer)]


def _long(text: str) -> bool:
    return len(text) >= SHORTEST


def _runs(text: str, length: int = 8) -> set[str]:
    """Every run of so many words, to tell near copies by."""
    words = re.findall(r"[a-z]+", text.lower())
    return {" ".join(words[i : i + length]) for i in range(len(words) - length + 1)}


def _package(module: str, inside: str) -> Path:
    spec = find_spec(module)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise ConfigError(_missing(module))
    return Path(places[0]) / inside


def _missing(what: str) -> str:
    return (
        f'data.source = "domains" needs the demo data ({what} is not installed): '
        'pip install "fedelta[lm]"'
    )

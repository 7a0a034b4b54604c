"""Pages that follow from the code: ``python -m tests.pages`` rewrites them in docs/."""

import inspect
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import fedelta
from fedelta.aggregators import catalogues
from fedelta.aggregators.recipes import describe
from fedelta.protocols.settings import Client, Config
from fedelta.server.listings import LORA_HEAD, METHOD_HEAD, lora_rows, method_rows

DOCS = Path(fedelta.__file__).parent / "docs"
HEAD = """\
# Configuration

One TOML file; every key has a default, so a file holds only what differs. `--set
table.key=value` overrides a key from the command line. Unknown keys are refused with
the nearest right one. `make docs` writes this page from `protocols/settings.py`.

Layers, the later over the earlier: the defaults below, `--preset NAME`, the file,
`--set`, then `--rounds`, `--seed` and `--out`.

```toml
[run]
name = "ward-notes"
rounds = 5

[merge]
recipe = "ties(density=0.2)"

[[clients]]
name = "north"
data = "north.jsonl"

[[clients]]
name = "south"
data = "south.csv"
```
"""


def words(table: type[Any]) -> dict[str, str]:
    """What a table's docstring says of each key."""
    text = inspect.getdoc(table) or ""
    part = text.split("Attributes:", 1)[-1]
    found = re.findall(
        r"^ {4}(\w+): (.*?)(?=^ {4}\w+: |\Z)", part, re.DOTALL | re.MULTILINE
    )
    return {key: " ".join(said.split()) for key, said in found}


def default(key: Field[Any]) -> str:
    """A key's default as TOML; a key that must be given has none."""
    if key.default is MISSING:
        return "required"
    value = list(key.default) if isinstance(key.default, tuple) else key.default
    return f"`{json.dumps(value)}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def tables() -> Iterator[tuple[str, type[Any]]]:
    """Names and classes of all tables, in the order of `Config`."""
    for name, kind in get_type_hints(Config).items():
        if is_dataclass(kind) and isinstance(kind, type):
            yield f"[{name}]", kind
        elif Client in get_args(kind):
            yield f"[[{name}]]", Client


def configuration() -> str:
    """The reference of every key."""
    parts = [HEAD]
    for name, kind in tables():
        about = (inspect.getdoc(kind) or "").splitlines()[0].partition(": ")[2]
        said = words(kind)
        rows = [
            f"| `{key.name}` | {default(key)} | {_escaped(said[key.name])} |"
            for key in fields(kind)
        ]
        head = ["| key | default | what it is |", "|---|---|---|"]
        title = f"## `{name}`: {about.rstrip('.')}"
        parts.append("\n".join([title, "", *head, *rows]) + "\n")
    return "\n".join(parts)


def methods() -> str:
    """The table of `fedelta methods` as Markdown."""
    rows = [METHOD_HEAD, ("---",) * len(METHOD_HEAD)]
    rows += [
        (f"`{name}`", does, f"`{knobs}`" if knobs else "", *spaces)
        for name, does, knobs, *spaces in method_rows(describe())
    ]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def lora() -> str:
    """The table of LoRA's aggregations as Markdown."""
    rows = [LORA_HEAD, ("---",) * len(LORA_HEAD)]
    for name, space, *others in lora_rows(catalogues.lora()):
        rows.append((name, f"`{space}`", *others))
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def recipes(page: str) -> str:
    """The page on recipes with its tables made anew."""
    return filled(page, (("methods", methods()), ("lora", lora())))


def findings(page: str) -> str:
    """The page of findings with its tables made anew from what is kept."""
    from fedelta.benchmarks import (
        against,
        couples,
        exhibits,
        fishers,
        foresights,
        quality,
    )
    from fedelta.benchmarks.evidence import RESULTS

    page = filled(page, exhibits.tables(quality.read(RESULTS)))
    page = filled(page, foresights.tables(quality.read(couples.RESULTS)))
    page = filled(page, fishers.tables(quality.read(fishers.RESULTS)))
    return filled(page, against.tables(quality.read(against.RESULTS)))


def filled(page: str, marked: Iterable[tuple[str, str]]) -> str:
    """A page with other tables between its marks."""
    for mark, table in marked:
        before, _, rest = page.partition(f"<!-- {mark} -->\n")
        rest = rest.partition("<!-- end -->\n")[2]
        page = f"{before}<!-- {mark} -->\n{table}<!-- end -->\n{rest}"
    return page


if __name__ == "__main__":
    (DOCS / "configuration.md").write_text(configuration())
    page = DOCS / "recipes.md"
    page.write_text(recipes(page.read_text()))
    page = DOCS / "findings.md"
    page.write_text(findings(page.read_text()))

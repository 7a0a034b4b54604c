"""The built-in set: which chapter of the ICD-10-CM does a description belong to?

The texts are the code descriptions of the US tabular list (public domain) that the
package ``simple-icd-10-cm`` carries; the classes are its chapters. Codes of one
three-character category say nearly the same, so whole categories are held out for
the test: what is tested was never trained on.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ..protocols.errors import ConfigError

SMALLEST = 10
"""A chapter with fewer categories is left out (one for special purposes, of two)."""


@dataclass(frozen=True, slots=True)
class Category:
    """One three-character category.

    Attributes:
        code: such as "J45".
        chapter: its chapter's title, without the range of codes.
        texts: the descriptions of its codes, in the list's order; each in the first
            category that has it alone.
    """

    code: str
    chapter: str
    texts: tuple[str, ...]


def _source() -> Path:
    spec = find_spec("simple_icd_10_cm")
    if spec is None or spec.origin is None:
        raise ConfigError(
            'data.source = "icd10" needs the demo data: pip install "fedelta[demo]"'
        )
    found = sorted((Path(spec.origin).parent / "data").glob("icd10c-tabular-*.xml"))
    if not found:
        raise ConfigError(
            "this version of simple-icd-10-cm has no tabular list: "
            'pip install "fedelta[demo]"'
        )
    return found[-1]


@cache
def categories() -> tuple[Category, ...]:
    """Every category of every chapter that is large enough, in the list's order.

    Raises:
        ConfigError: the data package is not installed.
    """
    from xml.etree import ElementTree as ET

    found: list[Category] = []
    seen: set[str] = set()
    root = ET.parse(_source()).getroot()  # noqa: S314  a file of an installed package
    for chapter in root.iter("chapter"):
        title = re.sub(r" \([^()]*\)$", "", chapter.findtext("desc", ""))
        tops = [one for part in chapter.iter("section") for one in part.findall("diag")]
        if len(tops) < SMALLEST:
            continue
        for top in tops:
            texts = dict.fromkeys(one.findtext("desc", "") for one in top.iter("diag"))
            own = tuple(text for text in texts if text not in seen)
            seen.update(own)
            found.append(Category(top.findtext("name", ""), title, own))
    return tuple(found)

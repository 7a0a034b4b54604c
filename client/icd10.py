"""The built-in set: which chapter of the ICD-10-CM does a description belong to?

The texts are the code descriptions of the US tabular list (public domain) that the
package ``simple-icd-10-cm`` carries; the classes are its chapters. Codes of one
three-character category say nearly the same, so whole categories are held out for
the test: what is tested was never trained on.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ..protocols.errors import ConfigError
from .groups import Group

SMALLEST = 10
"""A chapter with fewer categories is left out (one for special purposes, of two)."""


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
def categories() -> tuple[Group, ...]:
    """Every category of every chapter that is large enough, in the list's order.

    Returns:
        A group a category: its three-character code, its chapter's title (without
        the range of codes) and the descriptions of its codes in the list's order,
        each in the first category that has it alone.

    Raises:
        ConfigError: the data package is not installed.
    """
    from xml.etree import ElementTree as ET

    found: list[Group] = []
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
            found.append(Group(top.findtext("name", ""), title, own))
    return tuple(found)

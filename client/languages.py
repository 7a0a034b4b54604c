"""The built-in set "languages": the manual pages of Debian, language by language.

The pages come from packages that the user unpacks into a folder once::

    apt-get download manpages manpages-de manpages-fr manpages-es manpages-pl
    for file in manpages*.deb; do dpkg -x "$file" manuals; done

and ``data.folder = "manuals"``. Neither needs root. The pages are free under the
GPL and like licences; nothing of them is part of this project.
"""

import gzip
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ..protocols import seeds
from ..protocols.errors import ConfigError
from . import texts
from .domains import cut
from .groups import Group

TEXTS = 400
"""Texts of each language, test texts among them."""

A_PAGE = 4
SHORTEST = 160
SECTIONS = "man[1-8]*"
ENGLISH = "en"

_TABLE = re.compile(r"^\.TS\b.*?^\.TE\b.*?$", re.MULTILINE | re.DOTALL)
_MACRO = re.compile(r"^[.'].*$", re.MULTILINE)
_SHOWN = re.compile(r"^\.(?:B|I|BR|BI|IR|IB|RB|RI|SM|SB)\b *(.*)$", re.MULTILINE)
_FONT = re.compile(r"\\f(?:\[\w*\]|\(..|.)|\\[&/,|^]|\\s[-+]?\d+|\\m\[\w*\]")
_LETTER = {"\\-": "-", "\\(aq": "'", "\\(dq": '"', "\\e": "\\", "\\~": " ", "\\ ": " "}
_PARTING = re.compile(r"^\.(?:PP|P|LP|TP|IP|SH|SS|HP|RS|RE|nf|fi)\b.*$", re.MULTILINE)


@cache
def groups(folder: str) -> tuple[Group, ...]:
    """Paragraphs of the manual pages under a folder, a group a page.

    Raises:
        ConfigError: there are no manual pages; the message says how to get some.
    """
    home = Path(folder) / "usr" / "share" / "man"
    if not folder or not home.is_dir():
        raise ConfigError(
            f'data.source = "languages" needs data.folder, and {folder or "none"!r} '
            "holds no usr/share/man: run `apt-get download manpages manpages-de "
            "manpages-fr manpages-es manpages-pl`, then `dpkg -x FILE FOLDER` for each"
        )
    found: list[Group] = []
    for language, place in languages(home).items():
        found += _taken(language, place)
    if not found:
        raise ConfigError(f"data.folder = {folder!r}: there are no manual pages in it")
    return tuple(found)


def languages(home: Path) -> dict[str, Path]:
    """The folders of a manual tree by language; what has no language is English."""
    found = {ENGLISH: home} if any(home.glob(SECTIONS)) else {}
    for one in sorted(home.iterdir()):
        if one.is_dir() and any(one.glob(SECTIONS)):
            found[one.name] = one
    return {name: found[name] for name in sorted(found) if not name.startswith("man")}


def paragraphs(page: str) -> list[str]:
    r"""The running text of a page in roff, paragraph by paragraph.

    Example:
        >>> page = ".TS\nl l.\n1 2\n.TE\n"
        >>> paragraphs(page + ".SH NAME\nls \\- list\n.PP\n.B ls\nlists \\fIfiles\\fP.")
        ['ls - list', 'ls lists files.']
    """
    text = _PARTING.sub("\n\n", _TABLE.sub("\n\n", page))
    text = _MACRO.sub("", _SHOWN.sub(r"\1", text))
    text = _FONT.sub("", text)
    for mark, letter in _LETTER.items():
        text = text.replace(mark, letter)
    parts = (re.sub(r"\s+", " ", one).strip() for one in text.split("\n\n"))
    return [one for one in parts if one]


def _taken(language: str, place: Path) -> Iterator[Group]:
    files = [file for file in sorted(place.glob(f"{SECTIONS}/*")) if file.is_file()]
    held = 0
    for index in seeds.permutation(seeds.key("languages", language), len(files)):
        file = files[int(index)]
        long = [one for one in paragraphs(_read(file)) if len(one) >= SHORTEST]
        kept = [texts.plain(cut(one)) for one in long[: min(A_PAGE, TEXTS - held)]]
        held += len(kept)
        if kept:
            yield Group(file.name, language, tuple(kept))
        if held == TEXTS:
            return


def _read(file: Path) -> str:
    data = file.read_bytes()
    try:
        plain = gzip.decompress(data) if file.suffix == ".gz" else data
        return plain.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError):
        return ""  # a page in an older encoding, or a link that leads nowhere

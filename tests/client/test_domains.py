"""The built-in sets of causal LMs: what is in them, and what is held out."""

import gzip
import json
import re
from pathlib import Path

import pytest

from fedelta.client import data, domains, drills, languages
from fedelta.client.groups import Group, held_out
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config, Data, Model


@pytest.mark.peer("licensedcode")
def test_every_domain_has_as_many_texts() -> None:
    pytest.importorskip("licensedcode", reason="the demo's data is not installed")
    found = domains.groups()
    counts: dict[str, int] = {}
    for one in found:
        counts[one.label] = counts.get(one.label, 0) + len(one.texts)
    assert counts == dict.fromkeys(domains.SOURCES, domains.TEXTS)
    task = data.load(
        Config(
            model=Model(task="causal-lm"),
            data=Data(source="domains", partition="column:label", test_examples=100),
        )
    )
    assert list(task.clients) == list(task.labels) == sorted(domains.SOURCES)
    assert len(task.test) == 100
    trained = {text for own in task.clients.values() for text in own.texts}
    assert not trained & set(task.test.texts)


def test_code_is_code() -> None:
    import ast

    module, some = next(named for named in domains.code() if named[1])
    assert module
    tree = ast.parse(json.loads(min(some, key=len))[0])
    assert isinstance(tree.body[0], ast.FunctionDef)


def test_answers_are_right() -> None:
    for prompt, answer in drills.arithmetic(3, 60):
        if found := re.search(r"(\d+) ([-+*]) (\d+) =", prompt):
            a, b = int(found[1]), int(found[3])
            assert int(answer) == {"+": a + b, "-": a - b, "*": a * b}[found[2]]
        elif "sequence" in prompt:
            shown = [int(one) for one in re.findall(r"\d+", prompt)]
            assert int(answer) - shown[3] == shown[1] - shown[0]
    for prompt, answer in drills.logic(3, 60):
        if found := re.search(r"p is (\w+) and q is (\w+).\nIs \((.*)\) true", prompt):
            p, q = found[1] == "true", found[2] == "true"
            right = q != ("not" in found[3])
            value = (p and right) if " and " in found[3] else (p or right)
            assert answer == f" {str(value).lower()}"
        elif found := re.search(r"above (\d+) pass. Does (\d+)", prompt):
            assert answer.startswith(" Yes") == (int(found[2]) > int(found[1]))


def test_whole_groups_are_held_out() -> None:
    groups = [Group(f"{n}", "ab"[n % 2], (f"{n}/1", f"{n}/2")) for n in range(20)]
    train, test = held_out(groups, "some", 1, 0.2)
    names = [{text.split("/")[0] for text in part["text"]} for part in (train, test)]
    assert not names[0] & names[1]
    assert sorted(test["label"]) == ["a"] * 4 + ["b"] * 4


PAGE = r""".\" made for a test
.TH LS 1
.SH NAME
ls \- list directory contents
.SH DESCRIPTION
.B ls
lists \fIfiles\fP, and this paragraph is long enough to be kept as a text, because it
goes on for some more words than a headline would, and then for some more of them.
"""


def manuals(folder: Path) -> Path:
    """Two languages of one page each, as packages unpack."""
    for place in ("man1", "de/man1"):
        home = folder / "usr" / "share" / "man" / place
        home.mkdir(parents=True)
        for name in ("ls.1.gz", "cp.1.gz"):
            (home / name).write_bytes(gzip.compress(PAGE.encode()))
    return folder


def test_manuals_are_read_by_language(tmp_path: Path) -> None:
    found = languages.groups(str(manuals(tmp_path)))
    assert [one.label for one in found] == ["de", "de", "en", "en"]
    (text,) = json.loads(found[0].texts[0])
    assert text.startswith("ls lists files, and this paragraph")
    assert "\\" not in text


def test_manuals_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="apt-get download"):
        languages.groups(str(tmp_path))
    (tmp_path / "usr" / "share" / "man").mkdir(parents=True)
    with pytest.raises(ConfigError, match="no manual pages"):
        languages.groups(str(tmp_path))


def test_a_set_for_another_task() -> None:
    with pytest.raises(ConfigError, match=r'for model.task = "causal-lm"'):
        data.load(Config(data=Data(source="domains")))

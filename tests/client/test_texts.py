"""Scripts in tokens, and rows that several texts share."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedelta.client import data, packing, scripts, texts
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Data
from tests import tiny

TURNS = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "yo"},
    {"role": "user", "content": "2?"},
    {"role": "assistant", "content": "two"},
]


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    """Bytes as tokens, with a chat template."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny.lm(folder), local_files_only=True)


def learned(row: texts.Row, tokenizer: Any) -> str:
    """The tokens that count, as text."""
    said = tokenizer.decode(row.ids[row.counted].tolist(), skip_special_tokens=True)
    assert isinstance(said, str)
    return said


def test_of_a_plain_text_everything_counts(tokenizer: Any) -> None:
    row = texts.encode(texts.plain("all of it"), tokenizer, 48)
    assert learned(row, tokenizer) == "all of it"
    assert row.ids[-1] == tokenizer.eos_token_id
    assert row.count == len("all of it")  # not the first; the end


def test_of_a_prompt_nothing_counts(tokenizer: Any) -> None:
    row = texts.encode(texts.pair("1 + 1 =", " 2"), tokenizer, 48)
    assert learned(row, tokenizer) == " 2"
    assert tokenizer.decode(row.ids, skip_special_tokens=True) == "1 + 1 = 2"


def test_of_a_conversation_the_assistant_counts(tokenizer: Any) -> None:
    row = texts.encode(texts.chat(TURNS), tokenizer, 99)
    whole = tokenizer.apply_chat_template(TURNS, tokenize=False)
    assert tokenizer.decode(row.ids) == whole
    assert whole.startswith("<user>hi</><assistant>yo</>")
    assert learned(row, tokenizer) == "yo</>two</>"


def test_templates_that_do_not_fit(tokenizer: Any) -> None:
    import copy

    bare = copy.copy(tokenizer)
    bare.chat_template = None
    with pytest.raises(ConfigError, match="has no chat template"):
        texts.encode(texts.chat(TURNS), bare, 48)
    bare.chat_template = "{{ messages | length }}{{ messages[-1]['content'] }}"
    with pytest.raises(ConfigError, match="writes earlier turns anew"):
        texts.encode(texts.chat(TURNS), bare, 48)


@given(
    prompt=st.text("ab", max_size=60),
    answer=st.text("cd", min_size=1, max_size=60),
    longest=st.integers(4, 40),
)
def test_what_is_too_long_keeps_something_to_learn(
    prompt: str, answer: str, longest: int
) -> None:
    from transformers import ByT5Tokenizer

    row = texts.encode(texts.pair(prompt, answer), ByT5Tokenizer(extra_ids=0), longest)
    assert len(row) <= longest
    assert row.count >= 1
    if len(prompt) + len(answer) + 1 <= longest:
        assert len(row) == len(prompt) + len(answer) + 1


@given(lengths=st.lists(st.integers(1, 32), max_size=60), longest=st.integers(32, 80))
def test_every_text_is_in_one_row(lengths: list[int], longest: int) -> None:
    rows = packing.packed(lengths, longest)
    assert sorted(place for row in rows for place in row) == list(range(len(lengths)))
    sums = [sum(lengths[place] for place in row) for row in rows]
    assert all(one <= longest for one in sums)
    if len(sums) > 1:  # best fit leaves no two rows that would fit into one
        assert sum(sorted(sums)[:2]) > longest


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def test_tables_in_every_shape(tmp_path: Path) -> None:
    rows = [{"text": "t", "ask": "a", "say": "s", "talk": TURNS, "label": "x"}] * 2
    source = write(tmp_path / "some.jsonl", rows)
    shapes = {
        texts.plain("t"): Data(),
        texts.pair("a", "s"): Data(prompt="ask", completion="say"),
        texts.chat(TURNS): Data(messages="talk"),
    }
    for script, settings in shapes.items():
        table = scripts.read(source, settings)
        assert list(table["text"]) == [script] * 2
        assert list(table["label"]) == ["x"] * 2


def test_a_domain_is_a_column_or_the_client(tmp_path: Path) -> None:
    source = write(tmp_path / "some.jsonl", [{"text": "one"}, {"text": "two"}] * 5)
    clients = [{"name": "amt", "data": source}, {"name": "bank", "data": source}]
    task = data.load(tiny.lm_config(tmp_path, clients=clients))
    assert task.labels == ("amt", "bank")
    assert set(task.clients["bank"].labels) == {1}
    assert np.array_equal(np.unique(task.test.labels), [0, 1])


BAD: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "two shapes": ({}, {"messages": "talk", "prompt": "ask"}, "two shapes"),
    "half a pair": ({}, {"prompt": "ask"}, "go together"),
    "no column": ({}, {"messages": "chat"}, r"no column 'chat' \(data.messages\)"),
    "no domain": ({}, {"label": "kind"}, r"no column 'kind' \(data.label\)"),
    "no list": ({"talk": "hello"}, {"messages": "talk"}, "must hold lists of messages"),
    "no content": ({"talk": [{"role": "user"}]}, {"messages": "talk"}, "row 1: each"),
    "nobody answers": ({"talk": TURNS[:1]}, {"messages": "talk"}, "nothing to learn"),
}


@pytest.mark.parametrize("what", BAD)
def test_shapes_that_are_wrong(tmp_path: Path, what: str) -> None:
    row, settings, message = BAD[what]
    source = write(tmp_path / "some.jsonl", [{"text": "t", "ask": "a"} | row])
    with pytest.raises(ConfigError, match=message):
        scripts.read(source, Data(**settings))

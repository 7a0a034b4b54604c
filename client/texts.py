"""Texts that a causal LM learns from, and which of their tokens count.

A text travels through a table's text column as a *script*: JSON that says how it is
made up. What a prompt holds is read but not learned; of a conversation only what the
assistant says is learned; of plain text everything is.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ..protocols.errors import ConfigError

Ids = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Turn = Mapping[str, str]

ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Row:
    """A text in tokens.

    Attributes:
        ids: [n] the tokens.
        counted: [n] whether a token is one that the model should predict.
    """

    ids: Ids
    counted: Flags

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def count(self) -> int:
        """How many tokens count; the first has nothing that it could follow from."""
        return int(self.counted[1:].sum())


def plain(text: str) -> str:
    """The script of a plain text."""
    return json.dumps([text])


def pair(prompt: str, completion: str) -> str:
    """The script of a prompt and what should follow it."""
    return json.dumps([prompt, completion])


def chat(turns: Iterable[Turn]) -> str:
    """The script of a conversation.

    Args:
        turns: each with "role" (such as "user" or "assistant") and "content".

    Raises:
        ConfigError: a turn without one of them, or nobody is an assistant.

    Example:
        >>> chat([{"role": "user", "content": "2 + 2?"}])
        Traceback (most recent call last):
        fedelta.protocols.errors.ConfigError: a conversation in which no assistant \
speaks has nothing to learn
    """
    kept = []
    for turn in turns:
        if not all(isinstance(turn.get(one), str) for one in ("role", "content")):
            raise ConfigError('each message has a text "role" and a text "content"')
        kept.append({"role": turn["role"], "content": turn["content"]})
    if not any(turn["role"] == ASSISTANT for turn in kept):
        raise ConfigError(
            "a conversation in which no assistant speaks has nothing to learn"
        )
    return json.dumps(kept)


def encode(script: str, tokenizer: Any, longest: int) -> Row:
    """A script in at most `longest` tokens.

    Pieces are tokenised one by one, so a prompt's last token never swallows the
    first letters of its completion. Of a text that is too long the end is cut; where
    its prompt alone is nearly as long, the prompt's beginning is cut instead.

    Raises:
        ConfigError: a conversation, and the model has no fitting chat template.
    """
    parts: list[Any] = json.loads(script)
    if isinstance(parts[0], str):
        first, last = _ends(tokenizer)
        pieces = [(part, place == len(parts) - 1) for place, part in enumerate(parts)]
    else:
        first, last = [], []
        pieces = spoken(parts, tokenizer)
    ids, counted = list(first), [False] * len(first)
    for text, counts in pieces:
        some: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids += some
        counted += [counts] * len(some)
    row = Row(np.array(ids + last, np.int64), np.array(counted + [True] * len(last)))
    return _cut(row, longest)


def spoken(turns: Sequence[Turn], tokenizer: Any) -> list[tuple[str, bool]]:
    """A conversation in the model's own chat template: pieces, and which count.

    Raises:
        ConfigError: there is no template, or it writes earlier turns anew when later
            ones follow.
    """
    if not tokenizer.chat_template:
        raise ConfigError(
            "the model's tokenizer has no chat template: give data.prompt and "
            "data.completion instead of data.messages"
        )
    pieces: list[tuple[str, bool]] = []
    whole = ""
    for place, turn in enumerate(turns):
        if turn["role"] == ASSISTANT:
            asked = _rendered(tokenizer, turns[:place], whole, ask=True)
            pieces.append((asked[len(whole) :], False))
            whole = asked
        more = _rendered(tokenizer, turns[: place + 1], whole, ask=False)
        pieces.append((more[len(whole) :], turn["role"] == ASSISTANT))
        whole = more
    return pieces


def _rendered(tokenizer: Any, turns: Sequence[Turn], before: str, *, ask: bool) -> str:
    said = tokenizer.apply_chat_template(
        list(turns), tokenize=False, add_generation_prompt=ask
    )
    text = cast("str", said)
    if not text.startswith(before):
        raise ConfigError(
            "the model's chat template writes earlier turns anew when later ones "
            "follow: give data.prompt and data.completion instead of data.messages"
        )
    return text


def _ends(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What a text begins and ends with: a first token where the model has one."""
    own: list[int] = tokenizer("")["input_ids"]
    first = [one for one in own[:1] if one == tokenizer.bos_token_id]
    end = tokenizer.eos_token_id
    return first, [] if end is None else [end]


def _cut(row: Row, longest: int) -> Row:
    if len(row) <= longest:
        return row
    learned = int(row.counted.argmax())
    start = max(0, min(learned - longest // 2, len(row) - longest))
    window = slice(start, start + longest)
    return Row(row.ids[window], row.counted[window])

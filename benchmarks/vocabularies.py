"""Which words are in a client's texts? Read off the rows of its embedding's change.

Where every weight is trained, a word that is in no text leaves its embedding as it is.
So the rows that moved are the words: of one upload, or of all uploads together in a
sum. Judged is how many of the client's n different words are among the n rows that
moved most.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fedelta.benchmarks.adversaries import Change
from fedelta.benchmarks.memberships import Scale, Stage
from fedelta.benchmarks.uploads import DEFENCES, SUM, UPLOAD, Defence
from fedelta.client.data import Examples

ROWS = ("word_embeddings.weight", "embed_tokens.weight")
PART = Scale(models=2, records=96, others=3, clients=4, texts=200)
"""Two attacked clients, each among three others."""


def words(stage: Stage, some: Examples) -> np.ndarray:
    """The different tokens of some texts, without those that every text has."""
    tokenizer = stage.base.network.tokenizer
    longest = stage.config.train.max_length
    found = tokenizer(list(some.texts), truncation=True, max_length=longest)
    ids = {token for row in found["input_ids"] for token in row}
    return np.array(sorted(ids - set(tokenizer.all_special_ids)))


def recovered(change: Change, there: np.ndarray, common: Sequence[int]) -> float:
    """The share of the words there that are among as many rows that moved most.

    Args:
        change: what the onlooker has.
        there: the words.
        common: tokens that every text has, which are no words.
    """
    (rows,) = (one for name, one in change.items() if name.endswith(ROWS))
    moved = np.linalg.norm(rows.astype(np.float64), axis=1)
    moved[list(common)] = 0
    top = np.argsort(-moved, kind="stable")[: len(there)]
    return float(np.isin(there, top[moved[top] > 0]).mean())


def attack(
    stage: Stage, defences: Sequence[Defence] = DEFENCES
) -> Iterator[dict[str, Any]]:
    """A row a view and defence."""
    common = stage.base.network.tokenizer.all_special_ids
    truth = [words(stage, stage.pool.take(np.flatnonzero(m))) for m in stage.inside]
    for defence in defences:
        quality = stage.quality(defence)
        for view in (UPLOAD, SUM):
            shares = [
                recovered(one, there, common)
                for one, there in zip(stage.views(defence, view), truth, strict=True)
            ]
            yield {
                "view": view,
                "defence": defence.name,
                "recovered": round(float(np.mean(shares)), 4),
                "words": round(float(np.mean([len(one) for one in truth]))),
                "quality": round(quality, 4),
            }

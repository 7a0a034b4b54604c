"""What clients find on their own data, merged as if one had found it."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedelta.client import perplexities
from fedelta.protocols import metrics
from fedelta.protocols.errors import PayloadError
from fedelta.server import evaluation
from fedelta.server.recordings import Recording
from fedelta.server.simulations import simulate
from tests import tiny

NAMES = ("code", "law", "")
TEXT = st.tuples(
    st.floats(0.01, 400.0), st.integers(1, 90), st.integers(0, 2), st.integers(0, 3)
)


def judged(texts: list[tuple[float, int, int, int]]) -> dict[str, float]:
    """One owner's metrics of (sum of losses, tokens, domain, owner)."""
    sums, counts, domains, _ = zip(*texts, strict=True)
    return perplexities.metrics(
        np.array(sums), np.array(counts, np.int64), np.array(domains), NAMES
    )


@given(st.lists(TEXT, min_size=1, max_size=12))
def test_several_owners_find_what_one_would(
    texts: list[tuple[float, int, int, int]],
) -> None:
    owners = [[one for one in texts if one[3] == who] for who in range(4)]
    found = evaluation.merged([judged(some) for some in owners if some])
    whole = judged(texts)
    assert found.keys() == whole.keys()
    for name, value in whole.items():
        assert found[name] == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokens": 1.5},
        {"tokens": -1.0},
        {"loss": math.nan},
        {"examples": 0.0},
        {"perplexity/code": 0.0},
        {"tokens/code": 1e9},
    ],
)
def test_numbers_that_no_evaluation_gives(wrong: dict[str, float]) -> None:
    told = judged([(3.0, 2, 0, 0), (4.0, 2, 1, 0)])
    with pytest.raises(PayloadError):
        evaluation.merged([told | wrong])


def test_clients_judge_a_language_model(tmp_path: Path) -> None:
    tables: dict[str, Any] = {
        "run": {"rounds": 1},
        "data": {"partition": "column:label", "validation": 0.3, "test": 0.0},
        "eval": {"where": "clients", "local": False, "keep": "best"},
    }
    config = tiny.lm_config(tmp_path, **tables)
    summary = simulate(config, workers=0)
    base, final = summary["metrics"]["base"], summary["metrics"]["final"]
    assert final["perplexity"] < base["perplexity"]
    names = ("amber", "birch", "cobalt", "dune")
    means = [math.log(final[f"perplexity/{name}"]) for name in names]
    assert math.log(final["perplexity"]) == pytest.approx(sum(means) / 4)
    tokens = [final[f"tokens/{name}"] for name in names]
    assert sum(tokens) == final["tokens"]
    by_tokens = sum(m * n for m, n in zip(means, tokens, strict=True)) / sum(tokens)
    assert final["loss"] == pytest.approx(by_tokens)
    assert summary["kept"]["round"] == 1
    assert len(Recording.read(tmp_path / "run").task.test) == 0


def test_less_of_a_domains_perplexity_is_better() -> None:
    assert metrics.falls("perplexity/code")

"""A recipe's own transforms on the client: applied before the format, and owed."""

from pathlib import Path

import numpy as np
import pytest

from fedelta.client import sending, stores
from fedelta.protocols.settings import Config
from tests.client.test_sending import BASE, change, plan, read, send


def test_the_client_trims_where_the_plan_says_so(tmp_path: Path) -> None:
    for before, share in (("server", 1.0), ("client", 0.1)):
        asked = plan(1, recipe="ties(density=0.1)", wire="fp16", before=before)
        sent = read(send(tmp_path / before, asked), 1, "fp16")
        for value in sent.values():
            assert np.count_nonzero(value) == round(share * value.size)


def test_what_was_trimmed_is_owed(tmp_path: Path) -> None:
    asked = plan(1, recipe="ties(density=0.1)", wire="fp32", before="client")
    sent = read(send(tmp_path, asked), 1, "fp32")
    owed = stores.Feedback(tmp_path, asked, BASE).committed(1)
    for name, value in change(1).items():
        np.testing.assert_array_equal(sent[name] + owed[name], value)


@pytest.mark.parametrize(
    ("recipe", "before", "kept"),
    [
        ("ties(density=0.1)", "client", True),
        ("dare(density=0.1)", "server", True),
        ("dare(density=0.1)", "client", False),
    ],
)
def test_what_is_dropped_by_chance_is_not_owed(
    recipe: str,
    before: str,
    kept: bool,  # noqa: FBT001
) -> None:
    asked = plan(1, recipe=recipe, wire="fp16", before=before)
    assert sending.feeds_back(asked, Config()) is kept

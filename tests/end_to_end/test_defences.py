"""Defences in a reduced form."""

from typing import Any

import pytest
import torch

from fedelta.benchmarks import layers
from fedelta.benchmarks.arenas import Arena
from fedelta.benchmarks.attacks import place, settings
from fedelta.benchmarks.fights import LEFT_OUT, Cell, fight
from fedelta.benchmarks.sieges import TRUST
from fedelta.client import loading
from fedelta.client.classification import tokenised
from fedelta.protocols.settings import Config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return settings("tiny", tmp_path_factory.mktemp("arena"))


@pytest.fixture(scope="module")
def arena(config: Config) -> Arena:
    return place(config, Cell("", "", 0.0))


@pytest.mark.parametrize("defence", ["trimmed_mean(trim=0.3)", TRUST])
def test_noise_ruins_the_mean_and_not_what_is_robust(
    arena: Arena, defence: str
) -> None:
    hit = fight(arena, Cell("gaussian", "fedavg()", 0.3, rounds=3))
    held = fight(arena, Cell("gaussian", defence, 0.3, rounds=3))
    assert hit["hostile"] == held["hostile"] == 3
    assert held["accuracy"] > hit["accuracy"] + 0.2


def test_a_public_set_tells_who_is_to_be_left_out(arena: Arena) -> None:
    losses = {}
    for name, defence in (("gone", ""), ("hit", ""), ("left", LEFT_OUT)):
        attack = "absent" if name == "gone" else "gaussian"
        fight(arena, Cell(attack, defence + "fedavg()", 0.3))
        losses[name] = arena.loss()
    assert losses["left"] < losses["hit"] - 0.1
    assert losses["left"] <= losses["gone"] + 0.05


def test_a_gauge_spoils_factors_and_changes_no_product(config: Config) -> None:
    products = place(config, Cell("", "", 0.0, "product"))
    factors = place(config, Cell("", "", 0.0, "factors"))
    calm = fight(products, Cell("none", "fedavg()", 0.0, "product", rounds=3))
    made = fight(products, Cell("gauge", "fedavg()", 0.3, "product", rounds=3))
    spoilt = fight(factors, Cell("gauge", "fedavg()", 0.3, "factors", rounds=3))
    assert made["accuracy"] == pytest.approx(calm["accuracy"], abs=0.05)
    assert spoilt["accuracy"] < made["accuracy"] - 0.1


@pytest.mark.parametrize("longest", [6, 24])
def test_what_lies_below_is_computed_once_and_the_same(
    config: Config, longest: int
) -> None:
    body: Any
    body, tokenizer = loading.load(config.model, 2)
    texts = ("amber of amber 3", "b", "birch the birch 44")
    batch = tokenised(tokenizer, texts, longest)
    with torch.no_grad():
        wanted = body(**batch).last_hidden_state
        layers.shorten(body, 1, tokenizer.pad_token_id, "float32")
        first, again = (body(**batch).last_hidden_state for _ in range(2))
    assert len(body.encoder.layer) == 1
    kept = batch["attention_mask"].bool()
    torch.testing.assert_close(first[kept], wanted[kept])
    assert torch.equal(first, again)

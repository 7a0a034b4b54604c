"""Settings that follow from others, and those that do not go together."""

import pytest

from fedelta.protocols.errors import ConfigError
from fedelta.server import checks, defaults, runs


def test_presets_of_language_models_can_be_read() -> None:
    domains = runs.load(preset="smollm2-domains")
    assert (domains.model.task, domains.eval.metric) == ("causal-lm", "perplexity")
    languages = runs.load(preset="smollm2-languages")
    assert {one.region for one in languages.clients} == {"germanic", "romance"}


def test_what_nobody_names_follows() -> None:
    full = runs.load(overrides=["train.mode=full"])
    assert full.wire.up == runs.load().wire.up  # the preset names it
    tables = {"train": {"mode": "full"}, "wire": {"feedback": False}}
    defaults.fill(tables)
    assert tables["wire"] == {
        "feedback": False,
        "up": "sparse(density=0.05)",
        "down": "moved(values='fp8')",
    }


WRONG = {
    "data.messages=talk": "data.messages is for model.task",
    "train.packing=true": "train.packing is for model.task",
    "train.micro_batch=-1": "train.micro_batch must be at least 0",
}


@pytest.mark.parametrize("override", WRONG)
def test_what_does_not_go_together(override: str) -> None:
    with pytest.raises(ConfigError, match=WRONG[override]):
        runs.load(overrides=[override])


def test_factors_apart_want_equal_ranks() -> None:
    config = runs.validate(
        {
            "clients": [{"name": "a", "rank": 2}, {"name": "b"}],
            "lora": {"space": "factors"},
        }
    )
    with pytest.raises(ConfigError, match="equal ranks"):
        checks.check(config)

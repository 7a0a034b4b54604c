"""Chains of transforms and recipes, as texts and as values."""

import pytest

from fedelta.aggregators.base import chain
from fedelta.aggregators.classics import dare, fedavg, ties
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.transforms import clip, scale, trim
from fedelta.protocols.errors import ConfigError


def test_a_chain_of_transforms_is_part_of_the_chain_around_it() -> None:
    made = recipe("chain(clip(1.0), trim(0.05)) | ties(0.5)")
    assert made.text == recipe("clip(1.0) | trim(0.05) | ties(0.5)").text


def test_values_compose_as_texts_do() -> None:
    for value, text in [
        (clip(1.0) | trim(0.05) | ties(0.5), "clip(1.0) | trim(0.05) | ties(0.5)"),
        (chain(clip(1.0), trim(0.05)) | fedavg(), "clip(1.0) | trim(0.05) | fedavg()"),
        (
            clip(1.0) | (trim(0.1) | dare() | scale(2.0)),
            "clip(1.0) | trim(0.1) | dare() | scale(2.0)",
        ),
    ]:
        made = recipe(text)
        assert (value.text, value.gain) == (made.text, made.gain)
        assert [one.text for one in value.before] == [one.text for one in made.before]
    with pytest.raises(ConfigError, match="exactly one recipe"):
        fedavg() | fedavg()
    with pytest.raises(ConfigError, match="not 'fedavg'"):
        clip(1.0) | "fedavg"

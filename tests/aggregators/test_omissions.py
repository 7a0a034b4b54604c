"""The merge without one reply is the merge of the others, in every space."""

from dataclasses import replace

import pytest

from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.spaces import omitted
from fedelta.protocols.vectors import Pair

from .test_spaces import KEY, TEXTS, cohort, identical, run


@pytest.mark.parametrize("space", ["product", "residual", "full"])
@pytest.mark.parametrize("text", [*TEXTS, "median", "scale(2) | ties(0.4) | lines"])
def test_leaving_one_out_is_merging_the_others(text: str, space: str) -> None:
    arrivals = [replace(one, pairs=(), start={}) for one in cohort()]
    arrivals = arrivals[::2] + arrivals[3:] if space == "full" else cohort()
    without = omitted(recipe(text), space, arrivals, key=KEY, rank_down=6)
    for one in arrivals:
        rest = [other for other in arrivals if other is not one]
        again = run(text, rest, space, 6)
        assert identical(without(one.name), again)


def test_what_only_one_has_is_left_out_with_it() -> None:
    other = Pair("n.weight", "m.lora_A.weight", "m.lora_B.weight", 1.0)
    arrivals = cohort()
    arrivals[0] = replace(arrivals[0], pairs=(other,))
    for text in ("fedavg", "ties"):
        without = omitted(recipe(text), "product", arrivals, key=KEY, rank_down=290)
        again = run(text, arrivals[1:])
        assert identical(without("a"), again)
        assert "n.lora_B.weight" not in again.update

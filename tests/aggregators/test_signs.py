"""Sign support and sign votes against plain definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.signs import enough
from fedelta.protocols.errors import ConfigError

from . import oracles
from .cases import Reals, drawn, merged


def supported(vectors: list[Reals], weights: list[int], members: int) -> Reals:
    out = oracles.elected(vectors, weights)
    for i in range(out.size):
        side = [1 for v in vectors if v.flat[i] * out.flat[i] > 0]
        if len(side) < members:
            out.flat[i] = 0
    return out


def voted(
    vectors: list[Reals], weights: list[int], threshold: float, below: str
) -> Reals:
    """Tenison et al. 2022 (damp), Ozdayi et al. 2021 (flip)."""
    out = oracles.fedavg(vectors, weights)
    for i in range(out.size):
        signs = [w * np.sign(v.flat[i]) for v, w in zip(vectors, weights, strict=True)]
        agreement = abs(sum(signs)) / sum(weights)
        if agreement < threshold:
            out.flat[i] *= {"damp": agreement, "flip": -1, "drop": 0}[below]
    return out


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 6),
    members=st.integers(1, 5),
    most=st.sampled_from([1, 9, 3000]),
)
def test_min_agree(count: int, members: int, most: int) -> None:
    vectors = drawn(count, 5, 8, what=f"{count}")
    shares = [1 + (7 * place) % most for place in range(count)]
    made = merged(f"min_agree({members})", vectors, shares)
    wanted = supported(vectors, shares, members)
    np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-8)


def test_support_counts_members_and_not_their_weights() -> None:
    made = merged("min_agree(2)", [[4.0, 4.0], [-1.0, 1.0], [0.0, 0.0]], [9, 1, 1])
    assert made == pytest.approx([0.0, 3.7])


def test_support_holds_under_a_negative_gain() -> None:
    assert merged("min_agree(2, gain=-1.0)", [[4.0], [1.0]]).tolist() == [-2.5]


@pytest.mark.parametrize("below", ["damp", "flip", "drop"])
@pytest.mark.parametrize("threshold", [0.0, 0.4, 1.0])
def test_sign_vote(below: str, threshold: float) -> None:
    vectors, shares = drawn(5, 9, 4), [1, 2, 3, 4, 1]
    made = merged(f"sign_vote({threshold}, below={below!r})", vectors, shares)
    wanted = voted(vectors, shares, threshold, below)
    np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-7)


def test_a_zero_has_no_vote() -> None:
    assert merged("sign_vote(0.6)", [[4.0], [0.0]]).tolist() == [1.0]


@pytest.mark.parametrize(
    "text",
    ["min_agree(0)", "min_agree(1.5)", "sign_vote(1.1)", "sign_vote(0.4, 'shout')"],
)
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"allowed|expected"):
        recipe(text)


def test_how_many_must_agree_is_counted_out() -> None:
    """By enumeration of what side every honest member stands on."""
    for count, hostile, level in ((7, 1, 0.9), (8, 2, 0.6), (9, 1, 0.95)):
        honest = count - hostile
        sides = [one.bit_count() for one in range(2**honest)]
        chance = [np.mean([one <= most for one in sides]) for most in range(honest)]
        least = next(most for most, one in enumerate(chance) if one >= level)
        wanted = min(honest, hostile + 1 + least)
        assert enough(count, hostile, level=level) == wanted
    assert enough(20, 2, kept=0.2) < enough(20, 2)

"""Places that all send alike, and what each choice of places would open."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from fedelta.aggregators import supports
from fedelta.aggregators.base import Key
from fedelta.aggregators.fields import State
from fedelta.aggregators.reductions import flat
from fedelta.aggregators.supports import choice
from fedelta.aggregators.transforms import drop
from fedelta.protocols import seeds
from fedelta.protocols.aborts import AbortError
from fedelta.protocols.errors import ConfigError, PayloadError
from fedelta.protocols.vectors import TaskVector
from tests.veiled import terms

KEY = Key("00" * 8, 3, "north")


def vector(seed: int = 0) -> TaskVector:
    shapes = {"a": (40, 7), "b": (33,), "c": (1,)}
    return TaskVector.of(
        {
            name: seeds.normal(seeds.key(seed, name), 0, math.prod(shape))
            .reshape(shape)
            .astype(np.float32)
            for name, shape in shapes.items()
        }
    )


@pytest.mark.parametrize("density", [0.1, 0.3, 0.5])
def test_a_keyed_mask_is_drops_own_without_a_name(density: float) -> None:
    x = vector()
    made = choice(f"dare(density={density})", "shared")
    places = supports.keyed(x.layout, density, KEY)
    again = supports.keyed(x.layout, density, KEY.of("south"))
    assert np.array_equal(places, again)
    found = np.zeros(x.layout.size, np.float32)
    found[places] = supports.chosen(made.prepared(x, KEY), places)
    wanted = flat(drop(density).apply(x, KEY.of("")))
    assert np.array_equal(found, wanted)


def test_a_public_support_follows_the_last_update_and_finds_new_places() -> None:
    x, last = vector(), vector(1)
    fresh = supports.public(x.layout, 0.2, KEY, None)
    followed = supports.public(x.layout, 0.2, KEY, last.tensors)
    for places in (fresh, followed):
        assert len(places) == len(set(places.tolist())) == 56 + 7 + 1
        assert (np.diff(places) > 0).all()
    sizes = np.abs(flat(last))[:280]
    top = set(np.argsort(-sizes, kind="stable")[:42].tolist())
    inside = set(followed[followed < 280].tolist())
    assert top <= inside
    assert len(inside - top) == 14
    other = supports.public(x.layout, 0.2, Key("00" * 8, 4), last.tensors)
    assert not np.array_equal(followed, other)


@given(some.integers(0, 70), some.data())
def test_places_come_back(size: int, data: some.DataObject) -> None:
    drawn = data.draw(some.sets(some.integers(0, max(size - 1, 0))))
    places = np.array(sorted(one for one in drawn if one < size), np.int64)
    written = supports.written(places, size)
    assert np.array_equal(supports.restored(written, size), places)
    with pytest.raises(PayloadError):
        supports.restored(written + b"\0", size)


@pytest.mark.parametrize("kept", [0.2, 0.6, 1.0])
def test_the_leak_is_that_of_all_ways_to_throw(kept: float) -> None:
    """Every outcome of four clients: nothing, up or down."""
    odds = {0: 1 - kept, 1: kept / 2, -1: kept / 2}
    few = lone = 0.0
    for thrown in itertools.product(odds, repeat=4):
        chance = math.prod(odds[one] for one in thrown)
        up, down = thrown.count(1), thrown.count(-1)
        few += chance * (0 < up < 3 or 0 < down < 3)
        lone += chance * (0 < up + down < 3)
    made = choice(f"ties(density={kept})", "private")
    assert supports.leak(4, 3, made, agreed=True) == pytest.approx(few)
    if kept < 1:
        alone = choice(f"trim({kept}) | fedavg", "private")
        assert supports.leak(4, 3, alone, agreed=False) == pytest.approx(lone)


def test_recipes_with_places_of_their_own_are_refused_in_one_pass() -> None:
    with pytest.raises(ConfigError, match="places of each client's own"):
        choice("breadcrumbs()", "shared")
    with pytest.raises(ConfigError, match="places of each client's own"):
        choice("dare_ties(0.5, trim_density=0.5)", "shared")
    with pytest.raises(ConfigError, match="of one client alone"):
        supports.needs_two("ties(0.2)", "private", 0)
    assert supports.needs_two("ties(0.2)", "shared", 3)
    assert not supports.needs_two("ties(0.2)", "shared", 0)
    assert not supports.needs_two("dare(0.2)", "shared", 3)


@pytest.mark.parametrize("bad", [8.5, -9.0, math.inf, math.nan])
def test_what_is_out_of_bound_is_not_sent_and_not_quoted(bad: float) -> None:
    state = State.of(terms("fedavg()", dict.fromkeys("abc", 1)))
    assert state.written(np.array([8, -8], np.float32), 1).tolist() == [[1 << 41, 0]]
    with pytest.raises(AbortError, match=r"above privacy\.bound = 8") as told:
        state.written(np.array([0, bad], np.float32), 1)
    assert str(bad) not in str(told.value)

"""Fields never run into each other, and what is too large is told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from fedelta.protocols.aborts import Abort, AbortError
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.lanes import Field, Lanes

FIELDS = some.lists(
    some.tuples(some.integers(0, 1 << 20), some.integers(0, 3)).filter(any),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(
    size=some.sampled_from([32, 64]),
    given=FIELDS,
    shares=some.lists(some.integers(1, 40), min_size=1, max_size=6),
    n=some.integers(0, 9),
    data=some.data(),
)
def test_adding_words_adds_every_field(
    size: int,
    given: list[tuple[int, int]],
    shares: list[int],
    n: int,
    data: some.DataObject,
) -> None:
    fields = tuple(Field(f"f{k}", each, heads) for k, (each, heads) in enumerate(given))
    lanes = Lanes(size, fields, sum(shares), len(shares))
    words = np.zeros(lanes.words(n), lanes.dtype)
    wanted = np.zeros((len(fields), n), np.uint64)
    for share in shares:
        numbers = np.array(
            [
                [data.draw(some.integers(0, field.most(share, 1))) for _ in range(n)]
                for field in fields
            ],
            np.uint64,
        ).reshape(len(fields), n)
        words += lanes.pack(numbers, share)
        wanted += numbers
    found = lanes.unpack(words, n, sum(shares), len(shares))
    assert np.array_equal(found, wanted)


@settings(max_examples=50, deadline=None)
@given(
    size=some.sampled_from([32, 64]),
    each=some.integers(1, 1 << 20),
    members=some.integers(1, 500),
)
def test_the_largest_numbers_of_all_members_fit(
    size: int, each: int, members: int
) -> None:
    fields = (Field("low", each), Field("head", heads=1), Field("high", each))
    lanes = Lanes(size, fields, members, members)
    most = np.array([[field.most(1, 1)] * 3 for field in fields], np.uint64)
    one = lanes.pack(most, 1)
    total = (one.astype(object) * members) % (1 << size)
    found = lanes.unpack(total.astype(lanes.dtype), 3, members, members)
    assert (found == most * np.uint64(members)).all()


def test_a_number_above_a_contributions_part_is_refused() -> None:
    lanes = Lanes(64, (Field("count", heads=1), Field("sum", 10)), 7, 3)
    good = np.array([[1], [20]], np.uint64)
    assert lanes.pack(good, 2).size == 1
    for bad, share in (([[2], [0]], 2), ([[0], [21]], 2), ([[1], [20]], 1)):
        with pytest.raises(AbortError) as told:
            lanes.pack(np.array(bad, np.uint64), share)
        assert told.value.abort == Abort.LANE_RANGE


def test_a_sum_above_the_survivors_part_is_refused() -> None:
    lanes = Lanes(32, (Field("count", heads=1),), 4, 4)
    words = lanes.pack(np.array([[1, 1, 0]], np.uint64), 1)
    assert lanes.unpack(words, 3, 1, 1).tolist() == [[1, 1, 0]]
    with pytest.raises(AbortError, match="LANE_RANGE"):
        lanes.unpack(words * np.uint32(3), 3, 2, 2)
    with pytest.raises(AbortError, match="LANE_RANGE"):
        lanes.unpack(words, 40, 1, 1)


def test_a_field_that_no_word_holds_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'sum' need 41 bits, a lane has 32"):
        Lanes(32, (Field("sum", 1 << 40),), 1, 1).words(1)
    with pytest.raises(ConfigError, match="32 or 64"):
        Lanes(16, (Field("sum", 1),), 1, 1).words(1)


def test_small_fields_share_words() -> None:
    lanes = Lanes(64, (Field("up", heads=1), Field("down", heads=1)), 10, 10)
    assert lanes.bits == (4, 4)
    assert lanes.words(1000) == 125

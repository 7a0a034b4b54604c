"""Many payloads are merged in memory that does not grow with their number."""

import gc
import tracemalloc
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from fedelta.aggregators import waves
from fedelta.aggregators.base import Key, Member
from fedelta.aggregators.compare import compare
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.reductions import flat, merged
from fedelta.aggregators.replies import Arrival
from fedelta.protocols import seeds
from fedelta.protocols.codec import Context, Header, Payload, decode, encode
from fedelta.protocols.vectors import Block, Contribution, Layout, Span, TaskVector

KEY = Key("ab" * 8, 2)
LAYOUT = Layout.of({"a": (300, 400), "b": (70_000,), "c": (3,)})
MEBI = 1 << 20


@cache
def sent(place: int) -> bytes:
    values = seeds.normal(seeds.key("waves", place % 3), 0, LAYOUT.size)
    parts = np.split((place + 1) * values, np.cumsum(LAYOUT.sizes)[:-1])
    tensors = {
        name: part.astype(np.float32).reshape(shape)
        for name, part, shape in zip(LAYOUT.names, parts, LAYOUT.shapes, strict=True)
    }
    header = Header(KEY.run, 2, f"c{place:02d}", "ff", LAYOUT.fingerprint)
    return encode(TaskVector(LAYOUT, tensors), "fp32", header)


def opened(count: int) -> list[Member]:
    members = []
    for place in range(count):
        found = decode(sent(place), Context(LAYOUT, KEY.run, 2, "ff", "fp32"))
        assert isinstance(found, Payload)
        members.append(Member(f"c{place:02d}", found, 1 + place % 4))
    return members


class Shut:
    """A payload that nothing knows to be one: read span by span, and left open."""

    def __init__(self, given: Contribution) -> None:
        assert isinstance(given, Payload)
        self._given, self.layout, self.peaks = given, given.layout, given.peaks

    def block(self, span: Span) -> Block:
        """The payload's."""
        return self._given.block(span)


def peak(count: int, text: str) -> int:
    """Bytes at most that opening and merging so many takes."""
    for place in range(count):
        sent(place)
    gc.collect()
    tracemalloc.start()
    try:
        flat(merged(recipe(text), opened(count), KEY))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", ["fedavg", "ties(density=1.0)", "ties(density=0.3)"])
def test_memory_does_not_grow_with_the_members(text: str) -> None:
    """A member that stayed open would hold its chunk, 0.7 MiB, and its scratch."""
    peak(17, text)  # what is kept once
    assert peak(64, text) - peak(17, text) < 3 * MEBI


def test_comparing_leaves_no_member_open() -> None:
    members = opened(5)
    compare([Arrival(one.name, one.contribution, one.share) for one in members])
    for one in members:
        assert isinstance(one.contribution, Payload)
        assert not one.contribution.scratch[0].size


def test_a_member_that_is_not_read_holds_nothing() -> None:
    member = opened(1)[0]
    assert isinstance(member.contribution, Payload)
    assert not member.contribution.scratch[0].size
    member.contribution.block(LAYOUT.spans[0])
    assert member.contribution.scratch[0].size


@pytest.mark.parametrize("count", [5, 9, 17, 21])
@pytest.mark.parametrize("text", ["fedavg", "ties(density=0.3)"])
def test_waves_give_the_bits_of_members_read_span_by_span(
    count: int, text: str
) -> None:
    assert waves.WAVE < 9 <= waves.HELD < 17  # all ways are taken
    made = recipe(text)
    bare = replace(made, reducer=replace(made.reducer, loop=""))
    shut = [replace(one, contribution=Shut(one.contribution)) for one in opened(count)]
    wanted = flat(merged(bare, shut, KEY))
    update = merged(made, opened(count), KEY)
    for threads in (1, 2):
        assert flat(update, threads).tobytes() == wanted.tobytes()
    for span in LAYOUT.spans[::-1]:  # in any order
        part = wanted[span.flat : span.flat + span.size]
        assert update.block(span).dense().tobytes() == part.tobytes()

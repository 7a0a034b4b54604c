"""The fast ways through a merge reach the bits of the slow one, on any threads."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from fedelta.aggregators import piles, sweeps
from fedelta.aggregators.base import Key, Member, Recipe
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.reductions import Flat, Reduction, flat, merged, reduce
from fedelta.aggregators.views import Scaled
from fedelta.protocols import seeds
from fedelta.protocols.codec import Context, Header, Payload, decode, encode
from fedelta.protocols.errors import BoundsError
from fedelta.protocols.vectors import (
    Block,
    Contribution,
    Floats,
    Layout,
    Span,
    TaskVector,
)

SHAPES = {"a": (3, 5), "big": (530, 2_000), "c": (70_000,), "empty": (0,), "z": (1,)}
KEY = Key("ab" * 8, 2)


class Plain:
    """A contribution that no loop sees through: read span by span."""

    def __init__(self, source: Contribution) -> None:
        self.source, self.layout = source, source.layout
        peaks = getattr(source, "peaks", None)
        if peaks is not None:
            self.peaks = peaks

    def block(self, span: Span) -> Block:
        """A copy of the source's."""
        given = self.source.block(span)
        places = None if given.positions is None else given.positions.copy()
        return Block(given.size, places, given.values.copy())


@cache
def vector(purpose: str, size: float = 1.0) -> TaskVector:
    tensors = {}
    for name, shape in SHAPES.items():
        values = seeds.normal(seeds.key(purpose, name), 0, int(np.prod(shape)))
        tensors[name] = (size * values).astype(np.float32).reshape(shape)
    tensors["c"][:40_000] = np.round(tensors["c"][:40_000])  # ties and zeros
    return TaskVector.of(tensors)


@cache
def sealed(purpose: str, wire: str, client: str, size: float = 1.0) -> Payload:
    given = vector(purpose, size)
    layout = given.layout
    data = encode(given, wire, Header("00", 1, client, "ff", layout.fingerprint))
    found = decode(data, Context(layout, "00", 1, "ff", wire))
    assert isinstance(found, Payload)
    return found


def cohort(count: int, make: Callable[[int], Contribution]) -> list[Member]:
    most = [1, 3, 7, 200]
    return [
        Member(f"m{k}", make(k), most[k % 4] if count > 1 else 1) for k in range(count)
    ]


def plainly(made: Recipe, members: list[Member]) -> Floats:
    """The same merge, nothing of it compiled beyond a span of a member."""
    hidden = [replace(m, contribution=Plain(m.contribution)) for m in members]
    bare = replace(made, reducer=replace(made.reducer, loop=""))
    return flat(merged(bare, hidden, KEY))


def equal(text: str, members: list[Member]) -> None:
    made = recipe(text)
    wanted = plainly(made, members)
    update = merged(made, members, KEY)
    for threads in (1, 3):
        assert flat(update, threads).tobytes() == wanted.tobytes()
    assert flat(merged(made, members, KEY, 2)).tobytes() == wanted.tobytes()
    spans = update.layout.spans
    for span in [spans[-1], spans[3], spans[0]]:  # and in any order
        part = wanted[span.flat : span.flat + span.size]
        assert update.block(span).dense().tobytes() == part.tobytes()


RECIPES = [
    "fedavg | scale(0.3)",
    "task_arithmetic(-0.7)",
    "ties(0.3)",
    "ties(1.0, election='count')",
    "scale(0.5) | fedavg",
    "trim(0.1) | scale(-2.0) | fedavg",
    "dare_ties(0.1)",
    "dare(0.3)",
]


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("text", RECIPES)
def test_dense_runs_are_what_spans_are(text: str, count: int) -> None:
    equal(text, cohort(count, lambda k: vector(f"v{k}", 10.0**-k)))


@pytest.mark.parametrize("shares", [(1, 1), (3, 3), (4, 4), (5, 0), (2, 9)])
@pytest.mark.parametrize("text", ["fedavg", "ties(1.0)", "ties(0.3, gain=-0.7)"])
def test_two_dense_members_too(text: str, shares: tuple[int, int]) -> None:
    for other in (vector("v1", 1e-12), vector("v0", -1.0)):
        given = zip((vector("v0"), other), shares, strict=True)
        equal(text, [Member(f"m{k}", *one) for k, one in enumerate(given)])


@pytest.mark.parametrize("text", ["fedavg", "ties(0.3)"])
def test_large_shares_too(text: str) -> None:
    members = cohort(3, lambda k: vector(f"v{k}"))
    for most in (2000, 300_000):
        equal(text, [replace(one, share=one.share + most) for one in members])


@pytest.mark.parametrize(
    "wire",
    [
        "sparse(0.05)",
        "sparse(0.002)",
        "sparse(0.4)",
        "sparse(density=0.1, values='fp16')",
        "dare(0.1)",
        "dare(0.3)",
        "masked(0.05, values='fp16')",
        "dare(0.1, values='fp8')",
        "sign256",
        "fp8",
        "fp16",
        "fp32",
    ],
)
@pytest.mark.parametrize(
    "text", ["fedavg", "ties(0.5)", "scale(0.3) | ties(1.0)", "ties(0.01)"]
)
def test_payloads_are_what_spans_are(text: str, wire: str) -> None:
    equal(text, cohort(3, lambda k: sealed(f"v{k}", wire, f"m{k}")))


def test_payloads_with_large_shares_and_in_waves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wires = ["sparse(0.05)", "dare(0.05)"]
    members = cohort(5, lambda k: sealed(f"v{k}", wires[k % 2], f"m{k}"))
    large = [replace(one, share=one.share + 5000) for one in members]
    for given in (members, large):
        for text in ("fedavg", "ties(1.0)"):
            equal(text, given)
            with monkeypatch.context() as patch:
                patch.setattr(piles, "WAVE", 150_000)
                equal(text, given)


def test_dense_and_sealed_members_mix() -> None:
    def make(k: int) -> Contribution:
        if k % 3 == 0:
            return vector(f"v{k}")
        return sealed(f"v{k}", ["sparse(0.05)", "fp16"][k % 2], f"m{k}")

    for text in ("fedavg", "ties(0.3)", "dare(0.5)"):
        equal(text, cohort(6, make))


def test_a_flat_vector_is_where_it_lies() -> None:
    def make(k: int) -> Contribution:
        given = vector(f"v{k}")
        return Flat(given.layout, flat(given))

    equal("ties(0.3)", cohort(3, make))


@pytest.mark.parametrize("text", ["fedavg", "ties", "dare(0.1)", "scale(2.0) | fedavg"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named(text: str, bad: float) -> None:
    members = cohort(3, lambda k: vector(f"v{k}"))
    tensors = {name: value.copy() for name, value in vector("v1").tensors.items()}
    tensors["c"][65_999] = bad
    spoilt = TaskVector.of(tensors)
    members[1] = replace(members[1], contribution=spoilt)
    with pytest.raises(BoundsError, match="c: m1"):
        reduce(recipe(text), members, KEY)


def test_what_overflows_when_scaled_is_named() -> None:
    members = cohort(2, lambda k: vector(f"v{k}", 1e30))
    with pytest.raises(BoundsError, match="m0"):
        reduce(recipe("scale(1e20) | fedavg"), members, KEY)
    sent = cohort(1, lambda k: sealed(f"v{k}", "fp16", f"m{k}", 1e30))
    with pytest.raises(BoundsError, match="too large to be scaled"):
        reduce(recipe("scale(1e20) | fedavg"), sent, KEY)


def test_arrays_that_no_loop_can_read_are_read_all_the_same() -> None:
    wide = np.asarray(seeds.normal(5, 0, 4_000), np.float32)
    strided = TaskVector(Layout.of({"w": (2_000,)}), {"w": wide[::2]})
    packed = TaskVector.of({"w": wide[::2].copy()})
    one = reduce(recipe("ties(0.2)"), [Member("a", strided)], KEY).tensors["w"]
    other = reduce(recipe("ties(0.2)"), [Member("a", packed)], KEY).tensors["w"]
    assert one.tobytes() == other.tobytes()


def test_the_fast_ways_are_taken() -> None:
    """The tests above compare something."""
    dense = merged(recipe("fedavg"), cohort(2, lambda k: vector(f"v{k}")), KEY)
    assert isinstance(dense, Reduction)
    assert dense._work.lies
    sent = cohort(2, lambda k: sealed(f"v{k}", "sparse(0.05)", f"m{k}"))
    made = merged(recipe("scale(0.5) | ties(0.2)"), sent, KEY)
    assert isinstance(made, Reduction)
    assert isinstance(sent[0].contribution, Payload)
    engine = made._engine()
    assert isinstance(engine, sweeps.Sweeps)
    assert engine._piles.any
    assert engine._piles._units is not None
    assert engine._piles._units.short.all()
    assert isinstance(made._work.members[0].contribution, Scaled)

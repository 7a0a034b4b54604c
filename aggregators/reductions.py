"""The driver: contributions in, one merged contribution out, span by span.

What a merge gives is itself a contribution whose spans are computed when they are
asked for, so memory is a span times the reducer's planes whatever the model's size,
and a merge of merges is nothing special.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ..protocols.errors import PayloadError, QuorumError
from ..protocols.vectors import Block, Contribution, Floats, Layout, Span, TaskVector
from .base import Key, Member, Recipe
from .folds import Folds
from .scales import Numbers, Survey, agreed, same
from .sources import Work, release, succeed
from .sweeps import Sweeps
from .transforms import scaled


class Engine(Protocol):
    """Merges spans; one thread at a time."""

    def window(self, span: Span) -> range:
        """The spans that are best merged together with one."""

    def fill(self, given: range, out: Floats) -> None:
        """Merge consecutive spans of a chunk into out, which is as long as they are."""


class Reduction:
    """Members merged by a recipe's reducer, as a contribution.

    A block is a view: valid until the same thread reads another one.

    Args:
        recipe: its reducer and gain are used; its transforms were applied.
        members: in canonical order.
        numbers: their shares.
    """

    def __init__(
        self, recipe: Recipe, members: Sequence[Member], numbers: Numbers
    ) -> None:
        self.layout: Layout = members[0].contribution.layout
        self._work = Work(recipe.reducer, members, numbers, recipe.gain)
        self._held = threading.local()

    @property
    def divisible(self) -> bool:
        """Whether threads may work at it side by side."""
        return self._work.divisible

    def block(self, span: Span) -> Block:
        """One span, merged over all members."""
        held: tuple[range, Floats] | None = getattr(self._held, "window", None)
        if held is None or span.index not in held[0]:
            given = self._engine().window(span)
            spans = self.layout.spans
            first, last = spans[given.start], spans[given.stop - 1]
            out = np.empty(last.flat + last.size - first.flat, np.float32)
            self.fill(given, out)
            self._held.window = held = (given, out)
        at = span.flat - self.layout.spans[held[0].start].flat
        return Block(span.size, None, held[1][at : at + span.size])

    def fill(self, given: range, out: Floats) -> None:
        """Merge consecutive spans of a chunk into out, which is as long as they are."""
        self._engine().fill(given, out)

    def _engine(self) -> Engine:
        engine: Engine | None = getattr(self._held, "engine", None)
        if engine is None:
            engine = Folds(self._work) if self._work.lies else Sweeps(self._work)
            self._held.engine = engine
        return engine


def prepare(
    recipe: Recipe, members: Sequence[Member], key: Key, threads: int = 1
) -> list[Member]:
    """Apply what comes before the sum, member by member, in name order.

    Args:
        recipe: its transforms are used.
        members: whose contributions; of several threads no two read the same one.
        key: what randomness is keyed by.
        threads: how many work at it, each with scratch of its own.
    """
    ordered = sorted(members, key=lambda member: member.name)
    if threads == 1 or not recipe.before:
        return _applied(recipe, ordered, key)
    each = -(-len(ordered) // threads) or 1
    parts = [ordered[at : at + each] for at in range(0, len(ordered), each)]
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda part: _applied(recipe, part, key), parts)
        return [one for part in found for one in part]


def _applied(recipe: Recipe, members: Sequence[Member], key: Key) -> list[Member]:
    prepared: list[Member] = []
    for one in members:
        contribution = one.contribution
        if prepared and recipe.before:
            succeed(contribution, prepared[-1].contribution)
        for transform in recipe.before:
            contribution = transform.apply(contribution, key.of(one.name))
        prepared.append(replace(one, contribution=contribution))
    if prepared and recipe.before:
        release(prepared[-1].contribution)
    return prepared


def merged(
    recipe: Recipe, members: Sequence[Member], key: Key, threads: int = 1
) -> Contribution:
    """What a recipe makes of some members, to be read span by span.

    Args:
        recipe: the merge.
        members: who is merged.
        key: what randomness is keyed by.
        threads: how many apply what comes before the sum; see `prepare`.

    Raises:
        QuorumError: there is nothing to merge.
        PayloadError: the members do not have the same tensors.
        BoundsError: a value is not finite.
        ConfigError: weights that the recipe cannot use.

    Example:
        >>> from fedelta.aggregators.recipes import recipe
        >>> a = Member("a", TaskVector.of({"w": np.float32([1, 2])}))
        >>> b = Member("b", TaskVector.of({"w": np.float32([3, -1])}), share=3)
        >>> reduce(recipe("fedavg"), [a, b], Key()).tensors["w"]
        array([ 2.5 , -0.25], dtype=float32)
    """
    ready = prepare(recipe, members, key, threads)
    numbers = _numbers(recipe, ready)
    if recipe.outer is None:
        return reduction(recipe, ready, numbers, key)
    groups: dict[str, Contribution] = {}
    for name in sorted({one.group for one in ready}):
        part = [one for one in ready if one.group == name]
        groups[name] = reduction(recipe, part, numbers, key)
    shares = group_shares(recipe.outer, ready, numbers)
    return merged(recipe.outer, outer_members(groups, shares), key)


def _numbers(recipe: Recipe, ready: Sequence[Member]) -> Numbers:
    """The shares; exponents are found span by span, unless all is needed at once.

    Groups have the exponents of all members, as the servers of a tree have them.
    """
    if recipe.reducer.cohort is not None or recipe.outer is not None:
        return Survey.of(ready).numbers(recipe.reducer)
    if not ready:
        raise QuorumError("nothing to merge")
    shares: dict[str, int] = {}
    for one in ready:
        same(ready[0].contribution.layout, one.contribution.layout)
        if one.name in shares:
            raise PayloadError(f"counted twice: {one.name}")
        shares[one.name] = one.share
    return agreed(shares, recipe.reducer)


def reduction(
    recipe: Recipe, members: Sequence[Member], numbers: Numbers, key: Key
) -> Contribution:
    """One group's members merged, the recipe's transforms having been applied.

    Raises:
        QuorumError: nobody is left whose share is not 0, where all are needed at once.
    """
    if recipe.reducer.cohort is None:
        return finished(recipe, Reduction(recipe, members, numbers), key)
    held = [replace(one, share=numbers.shares[one.name]) for one in members]
    held = [one for one in held if one.share]
    if not held:
        raise QuorumError("no reply counts for anything")
    made = recipe.reducer.cohort(held, key)
    if recipe.gain != 1:
        made = scaled(made, recipe.gain)
    return finished(recipe, made, key)


def finished(recipe: Recipe, merged: Contribution, key: Key) -> Contribution:
    """What comes after the merge."""
    for transform in recipe.after:
        merged = transform.apply(merged, key)
    return merged


def group_shares(
    outer: Recipe, members: Sequence[Member], numbers: Numbers
) -> dict[str, int]:
    """What each group counts for: what its members do; once where the outer adds."""
    shares: dict[str, int] = {}
    for one in members:
        more = numbers.shares[one.name]
        shares[one.group] = 1 if outer.reducer.adds else shares.get(one.group, 0) + more
    return shares


def outer_members(
    groups: dict[str, Contribution], shares: dict[str, int]
) -> list[Member]:
    """The groups' results as members of the outer merge."""
    return [Member(name, groups[name], shares[name]) for name in sorted(groups)]


@dataclass(frozen=True, slots=True)
class Flat:
    """A contribution in memory as one run of all its tensors.

    Attributes:
        layout: the tensors.
        values: [N] float32.
    """

    layout: Layout
    values: Floats

    def block(self, span: Span) -> Block:
        """One span: a view."""
        return Block(span.size, None, self.values[span.flat : span.flat + span.size])

    def lies(self, tensor: int) -> tuple[tuple[str, Floats], None]:
        """A tensor's elements."""
        first = sum(self.layout.sizes[:tensor])
        return ("F32", self.values[first : first + self.layout.sizes[tensor]]), None


def flat(
    contribution: Contribution, threads: int = 1, out: Floats | None = None
) -> Floats:
    """A contribution read whole.

    Args:
        contribution: what to read.
        threads: how many work at it; any number gives the same bits.
        out: [N] float32 to write to; None: a new one.
    """
    layout = contribution.layout
    values = np.empty(layout.size, np.float32) if out is None else out
    spans = layout.spans

    def read(chunk: range) -> None:
        first, last = spans[chunk.start], spans[chunk.stop - 1]
        part = values[first.flat : last.flat + last.size]
        if isinstance(contribution, Reduction):
            contribution.fill(chunk, part)
            return
        for span in spans[chunk.start : chunk.stop]:
            start = span.flat - first.flat
            part[start : start + span.size] = contribution.block(span).dense()

    if threads > 1 and isinstance(contribution, Reduction) and contribution.divisible:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(read, layout.chunks))
    else:
        for chunk in layout.chunks:
            read(chunk)
    return values


def dense(contribution: Contribution, threads: int = 1) -> dict[str, Floats]:
    """Read a contribution whole: tensors by name, float32."""
    layout = contribution.layout
    values = flat(contribution, threads)
    ends = np.cumsum(layout.sizes, dtype=np.int64)
    return {
        name: values[end - size : end].reshape(shape)
        for name, shape, size, end in zip(
            layout.names, layout.shapes, layout.sizes, ends.tolist(), strict=True
        )
    }


def reduce(
    recipe: Recipe, members: Sequence[Member], key: Key, threads: int = 1
) -> TaskVector:
    """`merged`, read whole."""
    update = merged(recipe, members, key)
    return TaskVector(update.layout, dense(update, threads))

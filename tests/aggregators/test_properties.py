"""What `properties` says of a recipe in a space, held to it: trees, masks, factors."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedelta.aggregators import tallies
from fedelta.aggregators.base import FORMED, SPACES, Key, Member
from fedelta.aggregators.furthers import FISHER, GRAM, wanted
from fedelta.aggregators.products import tensor
from fedelta.aggregators.recipes import Properties, properties, recipe
from fedelta.aggregators.reductions import dense, prepare, reduce
from fedelta.aggregators.scales import Survey
from fedelta.aggregators.spaces import Arrival, merge_round
from fedelta.aggregators.tallies import Tally
from fedelta.protocols import seeds
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.vectors import Floats, Pair, TaskVector
from tests.test_laws import LEAST, TEXTS, TWO

KEY = Key("0f" * 8, 3)
PAIR = Pair("w.weight", "w.lora_A.weight", "w.lora_B.weight", 2.0)
SHAPES = {PAIR.a: (2, 5), PAIR.b: (6, 2), "norm": (4,)}


def held(text: str, space: str) -> Properties | None:
    try:
        return properties(recipe(text), space)
    except ConfigError:
        return None


KNOWN = [
    (text, space, found)
    for texts in TEXTS.values()
    for text in texts
    for space in SPACES
    if (found := held(text, space)) is not None
]


def which(field: str, value: object) -> pytest.MarkDecorator:
    """Every recipe and space of which one thing is said."""
    some = [(t, s) for t, s, found in KNOWN if getattr(found, field) == value]
    return pytest.mark.parametrize(("text", "space"), some)


quick = settings(max_examples=1, deadline=None)  # of each of some 200 pairs


def drawn(key: int, *shape: int) -> Floats:
    flat = seeds.normal(key, 0, int(np.prod(shape)))
    return np.asarray(flat, np.float32).reshape(shape)


def tensors(text: str, space: str, key: int) -> dict[str, Floats]:
    """One reply's tensors as they travel in a space."""
    shapes: dict[str, tuple[int, ...]] = dict(SHAPES)
    if space == "full":
        shapes = {"norm": (4,), PAIR.weight: (6, 5)}
    elif space == "frozen-a":
        del shapes[PAIR.a]
    found = {
        name: drawn(seeds.key("reply", key, name), *shape)
        for name, shape in shapes.items()
    }
    further = wanted(recipe(text))
    if further == FISHER:
        found |= {name + FISHER: value**2 for name, value in found.items()}
    if further == GRAM:
        rows = drawn(seeds.key("gram", key), 9, 5)
        found[PAIR.weight + GRAM] = rows.T @ rows
    return found


def replies(text: str, space: str, seed: int) -> list[Arrival]:
    """A cohort as large as the recipe needs, in two regions or three."""
    name = text.split("(", maxsplit=1)[0]
    count = 2 if name in TWO else max(3, LEAST.get(name, 0))
    made = []
    for place in range(count):
        key = seeds.key(seed, place)
        made.append(
            Arrival(
                f"client-{place}",
                TaskVector.of(tensors(text, space, key)),
                1 + key % 40,
                f"region-{(key >> 8) % 3}",
                () if space == "full" else (PAIR,),
            )
        )
    return made


def merged(
    text: str, space: str, cohort: list[Arrival], *, regions: bool = False
) -> dict[str, Floats]:
    made = recipe(text)
    found = merge_round(made, space, cohort, key=KEY, rank_down=5, regions=regions)
    return found.update


@which("tree", value=True)
@quick
@given(seed=st.integers(0, 1 << 32), data=st.data())
def test_a_tree_reaches_the_flat_result(
    text: str, space: str, seed: int, data: st.DataObject
) -> None:
    cohort = replies(text, space, seed)
    flat = merged(text, space, cohort)
    tree = merged(text, space, data.draw(st.permutations(cohort)), regions=True)
    assert flat.keys() == tree.keys()
    assert all(flat[name].tobytes() == tree[name].tobytes() for name in flat)


def test_nothing_is_exempt_from_the_tree() -> None:
    assert all(found.tree for _, _, found in KNOWN)


@which("maskable", value=True)
@quick
@given(seed=st.integers(0, 1 << 32))
def test_what_is_maskable_is_a_sum_modulo_2_64(
    text: str, space: str, seed: int
) -> None:
    made, cohort = recipe(text), replies(text, space, seed)
    adds = made.reducer.adds
    members = [Member(a.name, a.contribution, 1 if adds else a.share) for a in cohort]
    ready = prepare(made, members, KEY)
    numbers = Survey.of(ready).numbers(made.reducer)
    layout = ready[0].contribution.layout
    masks = [
        seeds.words(place, 0, 8 * layout.size).reshape(8, -1)
        for place in range(len(ready))
    ]
    masks[-1] = -sum(masks[:-1], start=np.zeros_like(masks[0]))
    root = Tally(layout, numbers)
    total: np.ndarray[tuple[int, ...], np.dtype[np.uint64]] | None = None
    for one, mask in zip(ready, masks, strict=True):
        state = tallies.fold(Tally(layout, numbers), made, one).planes[""]
        sent = state.view(np.uint64) + mask[: len(state)]
        total = sent if total is None else total + sent
        root.members[one.name] = ""
    assert total is not None
    root.planes[""] = total.view(made.reducer.planes(numbers.total)[1])
    found = dense(tallies.read(root, made, KEY))
    plain = reduce(made, members, KEY).tensors
    assert all(found[name].tobytes() == plain[name].tobytes() for name in plain)
    update = merged(text, space, cohort)
    np.testing.assert_array_equal(update["norm"], found["norm"])


@which("maskable", value=False)
def test_what_is_not_has_a_reason(text: str, space: str) -> None:
    made = recipe(text)
    cohort = made.reducer.cohort is not None
    assert cohort or made.outer is not None or space in FORMED


@which("family", value="sum")
@quick
@given(seed=st.integers(0, 1 << 32))
def test_a_sums_state_does_not_grow(text: str, space: str, seed: int) -> None:
    made = recipe(text)
    members = [
        Member(a.name, a.contribution, 1, "") for a in replies(text, space, seed)
    ]
    ready = prepare(made, members, KEY)
    numbers = Survey.of(ready).numbers(made.reducer)
    tally = Tally(ready[0].contribution.layout, numbers)
    for one in ready:
        tally = tallies.fold(tally, made, one)
    assert not tally.whole
    assert len(tally.planes) == 1


@which("linear", value=True)
@quick
@given(seed=st.integers(0, 1 << 32))
def test_by_factors_no_gauge_changes_anything(text: str, space: str, seed: int) -> None:
    cohort = replies(text, space, seed)
    turned = []
    for place, one in enumerate(cohort):
        turn = np.linalg.qr(drawn(seeds.key("turn", place), 2, 2).astype(float))[0] * 2
        values = {n: tensor(one.contribution, n) for n in SHAPES}
        b = np.asarray(values[PAIR.b] @ turn, np.float32)
        a = np.asarray(np.linalg.solve(turn, values[PAIR.a]), np.float32)
        vector = TaskVector.of(values | {PAIR.b: b, PAIR.a: a})
        turned.append(replace(one, contribution=vector))
    first, second = (_product(merged(text, space, some)) for some in (cohort, turned))
    np.testing.assert_allclose(second, first, atol=1e-4 * np.abs(first).max() + 1e-6)


def _product(update: dict[str, Floats]) -> Floats:
    if PAIR.weight in update:
        return update[PAIR.weight]
    return update[PAIR.b] @ update[PAIR.a]

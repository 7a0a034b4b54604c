"""Every recipe keeps the laws of a sum: in any order, in any tree, through bytes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedelta.aggregators import tallies
from fedelta.aggregators.base import Key, Member, Recipe
from fedelta.aggregators.furthers import GRAM, Attached
from fedelta.aggregators.importances import Joined
from fedelta.aggregators.omissions import Omitting, subtracts
from fedelta.aggregators.recipes import METHODS, properties, recipe
from fedelta.aggregators.reductions import dense, prepare, reduce
from fedelta.aggregators.regions import handed_up
from fedelta.aggregators.scales import Numbers, Survey
from fedelta.aggregators.shares import LARGEST
from fedelta.aggregators.tallies import Tally
from fedelta.protocols import seeds
from fedelta.protocols.vectors import Floats, TaskVector

from .strategies import any_value, cohorts

TEXTS = {
    "fedavg": ["fedavg", "clip(2.0) | fedavg | scale(0.5)"],
    "task_arithmetic": ["task_arithmetic(gain=0.3)"],
    "ties": [
        "ties",
        "ties(density=0.6, gain=1.3, election='count')",
        "ties(0.4, scope='vector') | lines(0.2, 0.8)",
        "ties(density=named('wide', 0.3, (0.4, 0.8)))",
        "ties(0.4, compat='mergekit')",
        "ties(0.4, compat='peft')",
        "ties(0.4, compat='paper')",
    ],
    "dare": ["dare(density=0.5)", "dare(0.3, rescale='l1')"],
    "dare_ties": ["dare_ties(density=0.5)", "dare_ties(0.7, trim_density=0.5)"],
    "della": ["della(density=0.6, epsilon=0.3)"],
    "breadcrumbs": ["breadcrumbs(0.6, 0.2)"],
    "breadcrumbs_ties": ["breadcrumbs_ties(0.6, 0.2)"],
    "min_agree": ["min_agree", "min_agree(3, election='count')"],
    "sign_vote": ["sign_vote", "sign_vote(0.6, below='flip')"],
    "fisher": ["fisher | scale(0.5)"],
    "regmean": ["regmean", "regmean(0.5, gain=2.0)"],
    "localize_and_stitch": ["localize_and_stitch(0.3)"],
    "median": ["median"],
    "trimmed_mean": ["trimmed_mean(0.2) | lines"],
    "geometric_median": ["clip(1.0) | geometric_median"],
    "centered_clipping": ["centered_clipping"],
    "fltrust": ["fltrust"],
    "krum": ["krum(hostile=0)"],
    "multi_krum": ["multi_krum(hostile=1)"],
    "bulyan": ["bulyan(hostile=0)"],
    "nnm": ["nnm(trimmed_mean(0.2)) | scale(2)"],
    "bucketing": ["bucketing(geometric_median)"],
    "slerp": ["slerp(0.3)"],
    "nuslerp": ["nuslerp", "nuslerp(scope='rows')"],
    "multislerp": ["multislerp"],
    "karcher": ["karcher(scope='vector')"],
    "model_stock": ["model_stock"],
    "metagpt": ["metagpt"],
    "fromm": ["fromm", "fromm(2.0, scope='vector')"],
    "pcb": ["pcb(0.5)", "pcb(0.5, scope='vector')"],
    "fedrpca": ["fedrpca"],
    "magmax": ["magmax"],
    "emr": ["emr"],
    "sce": ["sce(0.4)"],
    "cabs": ["cabs"],
    "consensus_ta": ["consensus_ta"],
    "tsv": ["tsv"],
    "iso_c": ["iso_c"],
    "iso_cts": ["iso_cts(0.5)"],
    "star": ["star"],
    "knots": ["knots"],
    "grouped": [
        "grouped(median, magmax)",
        "grouped(fedavg, ties(density=0.5))",
        "grouped(ties, fedavg)",
        "grouped(fedavg, task_arithmetic)",
    ],
}
LEAST = {"krum": 3, "multi_krum": 4, "bulyan": 3, "nnm": 2}
TWO = ("slerp", "nuslerp")
KEY = Key("0f" * 8, 3)

every_recipe = pytest.mark.parametrize(
    "text", [text for texts in TEXTS.values() for text in texts]
)
quick = settings(max_examples=12, deadline=None)


def test_no_recipe_escapes_the_laws() -> None:
    assert TEXTS.keys() == METHODS.keys()


def same(left: dict[str, Floats], right: dict[str, Floats]) -> bool:
    """Equal to the last bit, the sign of zero included."""
    return left.keys() == right.keys() and all(
        left[name].tobytes() == right[name].tobytes() for name in left
    )


def suited(text: str, cohort: list[Member]) -> list[Member]:
    """A cohort with what the recipe needs: as many members, importances."""
    name = text.split("(", maxsplit=1)[0]
    if name in LEAST or name in TWO:
        enough = max(LEAST.get(name, 2), len(cohort))
        more = [
            replace(one, name=f"{one.name}-{copy}")
            for copy in range(enough)
            for one in cohort
        ]
        cohort = more[:2] if name in TWO else more[:enough]
    if text.startswith("regmean"):
        return [replace(one, contribution=_grams(one)) for one in cohort]
    if not text.startswith("fisher"):
        return cohort
    return [
        replace(one, contribution=Joined(one.contribution, _Square(one.contribution)))
        for one in cohort
    ]


def _grams(member: Member) -> Attached:
    """A member with the Gram matrix of one of its matrices, drawn by its name."""
    rows = seeds.normal(seeds.key(member.name), 0, 30).reshape(10, 3)
    gram = TaskVector.of({"wide": np.asarray(rows.T @ rows, np.float32)})
    return Attached(member.contribution, gram, GRAM)


class _Square:
    def __init__(self, source: Any) -> None:
        self.source, self.layout = source, source.layout

    def block(self, span: Any) -> Any:
        given = self.source.block(span)
        return type(given)(given.size, given.positions, given.values**2)


def numbered(members: list[Member], made: Recipe) -> tuple[list[Member], Numbers]:
    ready = prepare(made, members, KEY)
    return ready, Survey.of(ready).numbers(made.reducer)


def leaf(member: Member, made: Recipe, numbers: Numbers) -> Tally:
    empty = Tally(member.contribution.layout, numbers)
    return tallies.fold(empty, made, member)


def equal(left: Tally, right: Tally) -> bool:
    return (
        left.members == right.members
        and left.planes.keys() == right.planes.keys()
        and same(left.whole, right.whole)
        and all(np.array_equal(left.planes[g], right.planes[g]) for g in left.planes)
    )


@every_recipe
@quick
@given(cohort=cohorts(values=any_value), random=st.randoms(use_true_random=False))
def test_order_of_arrival_does_not_matter(
    text: str, cohort: list[Member], random: Any
) -> None:
    made, cohort = recipe(text), suited(text, cohort)
    shuffled = random.sample(cohort, len(cohort))
    assert same(
        dict(reduce(made, cohort, KEY).tensors),
        dict(reduce(made, shuffled, KEY).tensors),
    )


@every_recipe
@quick
@given(cohort=cohorts(values=any_value), data=st.data())
def test_a_tree_of_servers_reaches_what_one_server_does(
    text: str, cohort: list[Member], data: st.DataObject
) -> None:
    made, cohort = recipe(text), suited(text, cohort)
    ready, numbers = numbered(cohort, made)
    ready = data.draw(st.permutations(ready))

    def climb(part: list[Member]) -> Tally:
        if len(part) == 1:
            return handed_up(leaf(part[0], made, numbers))
        cut = data.draw(st.integers(1, len(part) - 1))
        return handed_up(tallies.merge(climb(part[:cut]), climb(part[cut:])))

    root = dense(tallies.read(climb(list(ready)), made, KEY))
    assert same(root, dict(reduce(made, cohort, KEY).tensors))


@every_recipe
@quick
@given(cohort=cohorts(values=any_value))
def test_the_first_pass_is_a_sum_too(text: str, cohort: list[Member]) -> None:
    made, cohort = recipe(text), suited(text, cohort)
    ready, numbers = numbered(cohort, made)
    parts = [Survey.of([one]) for one in reversed(ready)]
    joined = parts[0]
    for part in parts[1:]:
        joined = part.merge(joined)
    assert joined.numbers(made.reducer) == numbers


@every_recipe
@quick
@given(cohort=cohorts(largest=3, values=any_value))
def test_states_are_a_commutative_monoid(text: str, cohort: list[Member]) -> None:
    made, cohort = recipe(text), suited(text, cohort)
    ready, numbers = numbered(cohort, made)
    zero = Tally(ready[0].contribution.layout, numbers)
    states = [leaf(one, made, numbers) for one in ready]
    a, b, c = (states[i] if i < len(states) else zero for i in range(3))
    assert equal(tallies.merge(zero, a), a)
    assert equal(tallies.merge(a, zero), a)
    assert equal(tallies.merge(a, b), tallies.merge(b, a))
    left = tallies.merge(tallies.merge(a, b), c)
    assert equal(left, tallies.merge(a, tallies.merge(b, c)))
    if len(ready) > 1:
        folded = tallies.fold(leaf(ready[0], made, numbers), made, ready[1])
        assert equal(folded, tallies.merge(a, b))


@every_recipe
@quick
@given(cohort=cohorts(values=any_value))
def test_what_works_under_masks_is_a_sum_modulo_2_64(
    text: str, cohort: list[Member]
) -> None:
    made, cohort = recipe(text), suited(text, cohort)
    if not properties(made, "full").maskable:
        assert made.reducer.cohort is not None or made.outer is not None
        return
    ready, numbers = numbered(cohort, made)
    states = [leaf(one, made, numbers).planes[""].view(np.uint64) for one in ready]
    masks = [
        seeds.words(place, 0, state.size).reshape(state.shape)
        for place, state in enumerate(states)
    ]
    masks[-1] = -sum(masks[:-1], start=np.zeros_like(states[0]))
    sent = [state + mask for state, mask in zip(states, masks, strict=True)]
    together = sum(sent, start=np.zeros_like(states[0]))
    assert np.array_equal(together, sum(states, start=np.zeros_like(states[0])))
    root = Tally(ready[0].contribution.layout, numbers)
    root.members.update({one.name: "" for one in ready})
    root.planes[""] = together.view(made.reducer.planes(numbers.total)[1])
    update = dense(tallies.read(root, made, KEY))
    assert same(update, dict(reduce(made, cohort, KEY).tensors))


@pytest.mark.parametrize("text", ["fedavg", "ties", "grouped(ties, fedavg)"])
@quick
@given(cohort=cohorts(values=any_value))
def test_the_merge_of_opposites_is_the_opposite(
    text: str, cohort: list[Member]
) -> None:
    made = recipe(text)
    flipped = [
        Member(m.name, _Opposite(m.contribution), m.share, m.group) for m in cohort
    ]
    there = reduce(made, cohort, KEY).tensors
    back = reduce(made, flipped, KEY).tensors
    assert all(np.array_equal(there[name], -back[name]) for name in there)


class _Opposite:
    def __init__(self, source: Any) -> None:
        self.source, self.layout = source, source.layout

    def block(self, span: Any) -> Any:
        given = self.source.block(span)
        return type(given)(given.size, given.positions, -given.values)


@every_recipe
@quick
@given(cohort=cohorts(values=any_value))
def test_the_merge_without_one_is_that_of_the_others(
    text: str, cohort: list[Member]
) -> None:
    made, cohort = recipe(text), suited(text, cohort)
    if not subtracts(made, cohort):
        many = len(cohort) > 1 and sum(one.share for one in cohort) <= LARGEST
        assert not many or made.reducer.cohort is not None or made.outer is not None
        return
    work = Omitting(made, KEY, regions=False)
    work.remember(made, cohort)
    for one in cohort:
        rest = [other for other in cohort if other is not one]
        found = dense(work.whole(made, rest))
        assert same(found, dict(reduce(made, rest, KEY).tensors))

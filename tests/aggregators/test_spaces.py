"""Rounds of low-rank replies: what they mean is merged, in any order, in any tree."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from fedelta.aggregators.base import Key, Member
from fedelta.aggregators.compare import compare
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.reductions import reduce
from fedelta.aggregators.spaces import Arrival, Merged, merge_round
from fedelta.protocols import seeds
from fedelta.protocols.errors import BoundsError, ConfigError, PayloadError, QuorumError
from fedelta.protocols.vectors import Floats, Pair, TaskVector

OUT, IN = 300, 290  # more than one span, none of them whole rows
KEY = Key("5e" * 8, 4)
TEXTS = [
    "fedavg",
    "task_arithmetic(gain=0.5)",
    "clip(3.0) | fedavg",
    "ties(density=0.4)",
    "dare(density=0.5)",
    "dare_ties(density=0.5)",
    "grouped(fedavg, fedavg)",
    "grouped(fedavg, ties(density=0.5))",
]


def draw(purpose: str, *shape: int) -> Floats:
    size = int(np.prod(shape))
    return seeds.normal(seeds.key(purpose), 0, size).reshape(shape).astype(np.float32)


START = {rank: draw(f"start {rank}", rank, IN) * 0.1 for rank in (2, 4)}


def reply(
    name: str,
    rank: int = 4,
    share: int = 7,
    region: str = "",
    turn: Floats | None = None,
    scaling: float = 2.0,
) -> Arrival:
    """A reply; `turn` [rank, rank] rewrites its factors as B R and R^-1 A."""
    b = draw(f"b {name}", OUT, rank)
    a = START[rank] + draw(f"a {name}", rank, IN) * 0.01
    if turn is not None:
        b = (b.astype(np.float64) @ turn).astype(np.float32)
        a = np.linalg.solve(turn.astype(np.float64), a.astype(np.float64))
        a = a.astype(np.float32)
    vector = TaskVector.of(
        {
            "m.lora_A.weight": a - START[rank],
            "m.lora_B.weight": b,
            "head": draw(f"head {name}", 5, 7),
        }
    )
    pair = Pair("m.weight", "m.lora_A.weight", "m.lora_B.weight", scaling)
    start = {"m.lora_A.weight": START[rank]}
    return Arrival(name, vector, share, region, (pair,), start)


def meant(one: Arrival) -> TaskVector:
    """The task vector that a reply stands for."""
    tensors = one.contribution.tensors  # type: ignore[attr-defined]
    pair = one.pairs[0]
    a = (one.start[pair.a] + tensors[pair.a]).astype(np.float64)
    product = pair.scaling * tensors[pair.b].astype(np.float64) @ a
    return TaskVector.of(
        {"m.weight": product.astype(np.float32), "head": tensors["head"]}
    )


def cohort() -> list[Arrival]:
    return [
        reply("a", share=120, region="north"),
        reply("b", rank=2, share=7, region="south", scaling=4.0),
        reply("c", share=1400, region="north"),
        reply("d", share=55, region="south"),
    ]


def run(
    text: str,
    arrivals: Sequence[Arrival],
    space: str = "product",
    rank: int = 290,
    *,
    regions: bool = False,
) -> Merged:
    return merge_round(
        recipe(text), space, arrivals, key=KEY, rank_down=rank, regions=regions
    )


def product(update: dict[str, Floats]) -> Floats:
    whole: Floats = update["m.lora_B.weight"] @ update["m.lora_A.weight"]
    return whole


def identical(left: Merged, right: Merged) -> bool:
    return left.report == right.report and all(
        one.keys() == two.keys()
        and all(one[name].tobytes() == two[name].tobytes() for name in one)
        for one, two in ((left.update, right.update), (left.carry, right.carry))
    )


def of_products(text: str, arrivals: Sequence[Arrival]) -> dict[str, Floats]:
    members = [
        Member(one.name, meant(one), 1 if "task" in text else one.share, one.region)
        for one in arrivals
    ]
    return dict(reduce(recipe(text), members, KEY).tensors)


@pytest.mark.parametrize("text", [t for t in TEXTS if "dare" not in t])
def test_the_product_of_a_merge_is_the_merge_of_products(text: str) -> None:
    wanted = of_products(text, cohort())
    merged = run(text, cohort())
    scale = float(np.abs(wanted["m.weight"]).max())
    np.testing.assert_allclose(
        product(merged.update), wanted["m.weight"], rtol=1e-4, atol=2e-5 * scale
    )
    np.testing.assert_allclose(merged.update["head"], wanted["head"], rtol=1e-5)
    assert merged.report["truncation"] < 1e-5


@pytest.mark.parametrize("text", TEXTS)
def test_a_residual_is_the_merge_of_products_whole(text: str) -> None:
    arrivals = cohort()
    found = run(text, arrivals, "residual", 1)
    wanted = of_products(text, arrivals)
    assert found.update.keys() == wanted.keys()
    assert not found.carry
    scale = float(np.abs(wanted["m.weight"]).max())
    np.testing.assert_allclose(
        found.update["m.weight"], wanted["m.weight"], rtol=1e-4, atol=2e-5 * scale
    )


def test_where_a_is_frozen_b_alone_is_merged() -> None:
    arrivals = []
    for name, share in (("a", 1), ("b", 3)):
        whole = reply(name, share=share)
        tensors = dict(whole.contribution.tensors)  # type: ignore[attr-defined]
        del tensors["m.lora_A.weight"]
        arrivals.append(replace(whole, contribution=TaskVector.of(tensors)))
    found = run("fedavg", arrivals, "frozen-a")
    assert set(found.update) == {"m.lora_B.weight", "head"}
    a = START[4].astype(np.float64)
    b = [one.contribution.tensors["m.lora_B.weight"] for one in arrivals]  # type: ignore[attr-defined]
    expected = 2.0 * (0.25 * b[0].astype(np.float64) + 0.75 * b[1]) @ a
    product = found.update["m.lora_B.weight"].astype(np.float64) @ a
    np.testing.assert_allclose(product, expected, atol=1e-5)
    assert compare(arrivals)["cosine"]


@pytest.mark.parametrize("space", ["product", "residual", "factors"])
@pytest.mark.parametrize("text", TEXTS)
def test_regions_and_order_change_no_bit(text: str, space: str) -> None:
    arrivals = [one for one in cohort() if space != "factors" or one.name != "b"]
    flat = run(text, arrivals, space, 8)
    assert identical(flat, run(text, arrivals[::-1], space, 8))
    assert identical(flat, run(text, arrivals, space, 8, regions=True))


@pytest.mark.parametrize("text", TEXTS)
def test_rewriting_factors_inside_a_product_changes_nothing(text: str) -> None:
    turn = draw("turn", 4, 4) + 3 * np.eye(4, dtype=np.float32)
    plain = [reply("a"), reply("b"), reply("c")]
    turned = [reply(name, turn=turn) for name in "abc"]
    left, right = run(text, plain), run(text, turned)
    one, two = product(left.update), product(right.update)
    apart = np.abs(one - two) > 1e-4 * np.abs(one).max()
    assert apart.mean() < 1e-3  # a handful sit on a threshold or a near tie
    if recipe(text).linear:
        assert not apart.any()


def test_factors_merge_a_and_b_apart() -> None:
    merged = run("fedavg", [reply("a", share=1), reply("b", share=3)], "factors")
    a, b = reply("a").contribution, reply("b").contribution
    left = {**a.tensors}  # type: ignore[attr-defined]
    right = {**b.tensors}  # type: ignore[attr-defined]
    mean = {name: left[name] / 4 + right[name] * 0.75 for name in left}
    np.testing.assert_allclose(
        merged.update["m.lora_B.weight"], 2 * mean["m.lora_B.weight"], atol=1e-5
    )
    wanted = START[4] + mean["m.lora_A.weight"]
    np.testing.assert_allclose(merged.update["m.lora_A.weight"], wanted, atol=1e-5)
    with pytest.raises(ConfigError, match="merge in space 'product'"):
        run("fedavg", cohort(), "factors")


@pytest.mark.parametrize("text", ["fedavg", "ties(density=0.4)"])
def test_what_is_cut_off_comes_back_next_round(text: str) -> None:
    arrivals = [reply("a"), reply("c"), reply("d")]
    whole = product(run(text, arrivals).update)
    first = run(text, arrivals, rank=4)
    assert first.update["m.lora_B.weight"].shape == (OUT, 4)
    assert 0 < first.report["truncation"] < 1
    quiet = [
        Arrival(
            one.name,
            TaskVector.of(
                {
                    name: np.zeros_like(value)
                    for name, value in one.contribution.tensors.items()  # type: ignore[attr-defined]
                }
            ),
            one.share,
            one.region,
            one.pairs,
            one.start,
        )
        for one in arrivals
    ]
    second = merge_round(
        recipe(text), "product", quiet, key=KEY, rank_down=290, carry=first.carry
    )
    got = product(first.update) + product(second.update)
    np.testing.assert_allclose(got, whole, atol=1e-4 * float(np.abs(whole).max()))


def test_what_was_cut_off_survives_a_round_that_leaves_its_weight_alone() -> None:
    first = run("fedavg", [reply("a"), reply("c")], rank=4)
    other = Arrival("z", TaskVector.of({"head": draw("head z", 5, 7)}))
    pair = Pair("k.weight", "k.lora_A.weight", "k.lora_B.weight", 1.0)
    vector = {"k.lora_A.weight": draw("x", 2, 3), "k.lora_B.weight": draw("y", 4, 2)}
    more = Arrival(
        "y", TaskVector.of({**vector, "head": draw("hy", 5, 7)}), 1, "", (pair,)
    )
    second = merge_round(
        recipe("fedavg"),
        "product",
        [other, more],
        key=KEY,
        rank_down=4,
        carry=first.carry,
    )
    wanted = first.carry["m.weight|b"] @ first.carry["m.weight|a"]
    np.testing.assert_allclose(product(second.update), wanted, atol=1e-4)


def test_a_clip_looks_at_the_product() -> None:
    merged = run("clip(0.5) | fedavg", [reply("a")])
    squares = sum(
        float((value.astype(float) ** 2).sum())
        for value in (product(merged.update), merged.update["head"])
    )
    assert squares**0.5 == pytest.approx(0.5, rel=1e-4)


def test_the_default_rank_is_four_times_the_largest() -> None:
    merged = run("fedavg", cohort(), rank=0)
    assert merged.update["m.lora_A.weight"].shape == (16, IN)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(QuorumError):
        run("fedavg", [])
    with pytest.raises(
        ConfigError,
        match="allowed: product, residual, frozen-a, share-a, core, factors, full",
    ):
        run("fedavg", cohort(), "elsewhere")
    with pytest.raises(ConfigError, match="allowed: 1 and above"):
        run("fedavg", [reply("a", share=0)])
    with pytest.raises(PayloadError, match="counted twice"):
        run("ties", [reply("a"), reply("a")])
    broken = reply("a")
    broken.contribution.tensors["m.lora_B.weight"][0, 0] = np.nan  # type: ignore[attr-defined]
    for text in ("fedavg", "ties"):
        with pytest.raises(BoundsError, match=r"m\.lora_B\.weight"):
            run(text, [broken])


def test_clients_are_compared_by_their_products() -> None:
    one, two, opposite = reply("a"), reply("b"), reply("a", scaling=-2.0)
    opposite = Arrival(
        "c", opposite.contribution, 1, "", opposite.pairs, opposite.start
    )
    found = compare([one, two, opposite])
    vectors = [meant(x).tensors for x in (one, two, opposite)]
    flat = [np.concatenate([t[n].ravel() for n in sorted(t)]) for t in vectors]
    wide = [x.astype(float) for x in flat]
    for i in range(3):
        for j in range(3):
            lengths = np.linalg.norm(wide[i]) * np.linalg.norm(wide[j])
            assert found["cosine"][i][j] == pytest.approx(wide[i] @ wide[j] / lengths)
            both = (flat[i] != 0) & (flat[j] != 0)
            conflict = (np.sign(flat[i]) != np.sign(flat[j]))[both].mean()
            assert found["conflict"][i][j] == pytest.approx(conflict, abs=1e-4)
    assert found["clients"] == ["a", "b", "c"]
    assert set(found["layers"]) == {"head", "m.weight"}

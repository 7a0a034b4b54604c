"""Knobs along the depth and by name, in a recipe's text, in rounds as offline."""

import numpy as np
import pytest

from fedelta.aggregators.base import Key, Member
from fedelta.aggregators.merges import merge
from fedelta.aggregators.recipes import properties, recipe
from fedelta.aggregators.reductions import reduce
from fedelta.aggregators.spaces import Arrival, merge_round
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.vectors import Floats, Pair, TaskVector

from .cases import KEY, drawn
from .cases import merged as alone

NAMES = ("embed", "layers.0.mlp", "layers.1.attn", "layers.1.mlp", "layers.2.mlp")


A, B = "layers.0.q.lora_A.weight", "layers.0.q.lora_B.weight"


def cohort(count: int = 3) -> list[dict[str, Floats]]:
    found = []
    for place in range(count):
        values = drawn(len(NAMES), 12, 7, what=f"member {place}")
        found.append(
            {n: np.asarray(v, np.float32) for n, v in zip(NAMES, values, strict=True)}
        )
    return found


def together(text: str, models: list[dict[str, Floats]]) -> dict[str, Floats]:
    members = [
        Member(f"m{place}", TaskVector.of(one)) for place, one in enumerate(models)
    ]
    return dict(reduce(recipe(text), members, KEY).tensors)


def held(text: str, each: dict[str, str], rtol: float = 0.0) -> None:
    """What a text makes is what each tensor's own recipe makes of it."""
    models = cohort()
    made = together(text, models)
    for name, own in each.items():
        wanted = alone(own, [one[name] for one in models], name=name)
        np.testing.assert_allclose(made[name], wanted, rtol=rtol, err_msg=name)


def test_a_gradient_goes_from_the_first_layer_to_the_last() -> None:
    held(
        "ties(density=(0.1, 0.5))",
        {
            "embed": "ties(0.1)",
            "layers.0.mlp": "ties(0.1)",
            "layers.1.mlp": "ties(0.3)",
            "layers.2.mlp": "ties(0.5)",
        },
    )


def test_values_go_by_a_part_of_the_name() -> None:
    held(
        'dare_ties(density=named("mlp", (0.2, 0.6), "attn", 0.5, 1))',
        {
            "embed": "dare_ties(1)",
            "layers.0.mlp": "dare_ties(0.2)",
            "layers.1.mlp": "dare_ties(0.4)",
            "layers.1.attn": "dare_ties(0.5)",
        },
    )


@pytest.mark.parametrize("name", ["fedavg | scale", "ties(0.4, ", "median("])
def test_gains_vary(name: str) -> None:
    open_ = name if name.endswith(("(", ", ")) else f"{name}("
    held(
        f"{open_}gain=(1.0, 0.5))",
        {
            "layers.0.mlp": f"{open_}gain=1.0)",
            "layers.1.attn": f"{open_}gain=0.75)",
            "layers.2.mlp": f"{open_}gain=0.5)",
        },
        rtol=2e-7,  # a varying gain multiplies what was rounded to float32
    )


def test_a_cohorts_rule_varies_and_so_do_transforms() -> None:
    held(
        'sce(density=(0.2, 0.8), gain=named("attn", 2.0, 1.0))',
        {"layers.0.mlp": "sce(0.2)", "layers.1.attn": "sce(0.5, gain=2)"},
    )
    held(
        "trim(density=(0.2, 0.8)) | fedavg",
        {"layers.0.mlp": "trim(0.2) | fedavg", "layers.2.mlp": "trim(0.8) | fedavg"},
    )


def test_a_word_goes_by_name() -> None:
    held(
        'dare(0.5, rescale=named("attn", "l1", "none"))',
        {
            "layers.0.mlp": "dare(0.5, rescale='none')",
            "layers.1.attn": "dare(0.5, rescale='l1')",
        },
    )


def test_in_rounds_products_go_by_their_weights() -> None:
    made, wanted = [], []
    for k in range(3):
        b, a = drawn(2, 6, 2, what=f"pair {k}")
        values = {
            A: np.asarray(a.T, np.float32),
            B: np.asarray(b, np.float32),
            "layers.1.q.weight": np.asarray(drawn(1, 6, 6)[0], np.float32),
        }
        pair = Pair("layers.0.q.weight", A, B, 1.0)
        made.append(Arrival(f"c{k}", TaskVector.of(values), pairs=(pair,)))
        wanted.append(b @ a.T)
    for regions in (False, True):
        update = merge_round(
            recipe("ties(density=(0.2, 0.6))"),
            "product",
            made,
            key=Key(),
            rank_down=6,
            regions=regions,
        ).update
        product = (
            update["layers.0.q.lora_B.weight"] @ update["layers.0.q.lora_A.weight"]
        )
        expected = alone("ties(0.2)", wanted)
        np.testing.assert_allclose(product, expected, rtol=1e-4, atol=1e-5)


def test_offline_too() -> None:
    base = {name: np.zeros((12, 7), np.float32) for name in NAMES}
    made = merge(cohort(), "ties(density=(0.1, 0.5))", base=base)
    wanted = together("ties(density=(0.1, 0.5))", cohort())
    for name in NAMES:
        np.testing.assert_array_equal(made[name], wanted[name])


def test_texts_read_back_and_keep_their_properties() -> None:
    text = "ties(density=named('mlp', (0.1, 0.2), 0.3), gain=(1, 2))"
    assert recipe(text).text == text
    assert properties(recipe(text), "full") == properties(recipe("ties"), "full")
    assert recipe("fedavg").linear
    assert not recipe("fedavg | scale((1, 2))").linear


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ties(density=(0.1, 3))", "at most 1"),
        ("ties(density=())", "expected float"),
        ("ties(density=('a', 'b'))", "expected float"),
        ("ties(density=(0.1, 0.2), scope='vector')", "cannot vary"),
        ("clip((1, 2)) | fedavg", "cannot vary"),
        ("sign_vote(threshold=(0.1, 0.4))", "must be the same for every tensor"),
        ("cabs(keep=(1, 3))", "not along the depth"),
        ("ties(election=('mass', 'count'))", "not along the depth"),
        ("grouped((fedavg, ties), ties)", "cannot vary"),
        ("grouped(1, ties)", "two recipes"),
        ('ties(density=named("mlp", 0.1))', "for all others"),
        ("ties(density=named(1, 0.1, 0.2))", "a text and a value"),
        ("named(1.0)", "no recipe"),
    ],
)
def test_what_cannot_vary_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        recipe(text)

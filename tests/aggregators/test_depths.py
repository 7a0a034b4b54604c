"""LiNeS, and how deep names lie."""

import numpy as np
import pytest

from fedelta.aggregators.base import Member
from fedelta.aggregators.depths import fractions, lines
from fedelta.aggregators.merges import merge
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.reductions import reduce
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.vectors import TaskVector

from .cases import KEY, floats

NAMES = [
    "bert.embeddings.word_embeddings.weight",
    *[f"bert.encoder.layer.{i}.attention.query.weight" for i in range(12)],
    "bert.pooler.dense.weight",
    "classifier.weight",
]


@pytest.mark.parametrize(
    "text", ["fedavg | lines(0.2, 0.6)", "lines(0.2, 0.6) | fedavg"]
)
def test_lines(text: str) -> None:
    """Wang et al. 2025: alpha + beta l / (L - 1)."""
    value = floats([1, -2])
    cohort = [Member("a", TaskVector.of(dict.fromkeys(NAMES, value)))]
    made = reduce(recipe(text), cohort, KEY).tensors
    for layer in range(12):
        gain = 0.2 + 0.6 * layer / 11
        np.testing.assert_allclose(made[NAMES[1 + layer]], gain * value, rtol=1e-6)
    np.testing.assert_allclose(made[NAMES[0]], 0.2 * value, rtol=1e-6)
    np.testing.assert_allclose(made["classifier.weight"], 0.8 * value, rtol=1e-6)


def test_stacks_are_numbered_apart_and_other_numbers_are_none() -> None:
    names = ["encoder.h.0.w", "encoder.h.1.w", "decoder.h.0.w", "experts.7.w"]
    assert fractions(names) == [0, 1, 0, 1]


def test_only_scalings_follow_a_recipe() -> None:
    with pytest.raises(ConfigError, match="may follow"):
        recipe("fedavg | trim(0.5)")
    with pytest.raises(ConfigError, match="finite"):
        lines(alpha=float("inf"))


def test_negation_scaling_and_analogy() -> None:
    """Ilharco et al. 2023: -tau, gain tau, and tau_C + (tau_B - tau_A)."""
    base = {"w": floats([1, 2])}
    a, b, c = ({"w": base["w"] + floats(x)} for x in ([1, 0], [1, 4], [0, 2]))
    forgot = merge([a], "task_arithmetic", base=base, weights=[-1])
    assert forgot["w"].tolist() == [0, 2]
    half = merge([b], "task_arithmetic(0.5)", base=base)
    assert half["w"].tolist() == [1.5, 4]
    like = merge([a, b, c], "task_arithmetic", base=base, weights=[-1, 1, 1])
    assert like["w"].tolist() == [1, 8]

"""Offline merges in memory: every recipe, every dtype, what is asked wrongly."""

from collections.abc import Callable

import numpy as np
import pytest

from fedelta.aggregators.merges import merge
from fedelta.protocols.errors import ConfigError

from . import oracles
from .models import BASE, SHAPES, Model, tuned


def taus(models: list[Model], name: str) -> list[oracles.Reals]:
    base = BASE[name].astype(np.float32)
    return [(one[name].astype(np.float32) - base).astype(np.float64) for one in models]


@pytest.mark.parametrize(
    "weights", [None, [1, 2, 5], [0.3, 0.7, 0.1], [0.12345678, 1e-3, 3]]
)
def test_every_recipe_means_what_its_paper_says(weights: list[float] | None) -> None:
    models = [tuned("a"), tuned("bb"), tuned("ccc")]
    given = weights or [1.0, 1.0, 1.0]
    means: dict[str, Callable[[list[oracles.Reals]], oracles.Reals]] = {
        "fedavg": lambda t: oracles.fedavg(t, given),
        "task_arithmetic(gain=0.4)": lambda t: oracles.task_arithmetic(t, given, 0.4),
        "ties(density=0.3, gain=1.5)": lambda t: oracles.ties(t, given, 0.3, 1.5),
    }
    for text, oracle in means.items():
        merged = merge(models, text, base=BASE, weights=weights)
        for name in ("one", "none", "bias"):
            wanted = BASE[name] + oracle(taus(models, name))
            np.testing.assert_allclose(merged[name], wanted, rtol=1e-6, atol=1e-7)
        assert merged["steps"].tolist() == [len("base")]
        assert list(merged) == list(BASE)


@pytest.mark.parametrize(("dtype", "step"), [("f8", 1e-6), ("f4", 1e-6), ("f2", 1e-3)])
def test_the_base_keeps_its_dtype(dtype: str, step: float) -> None:
    base = {n: v.astype(dtype) if v.dtype.kind == "f" else v for n, v in BASE.items()}
    models = [tuned("a", dtype), tuned("bb", dtype)]
    merged = merge(models, "fedavg", base=base)
    for name in SHAPES:
        assert merged[name].dtype == np.dtype(dtype)
        wanted = (models[0][name].astype(float) + models[1][name]) / 2
        np.testing.assert_allclose(
            merged[name].astype(float), wanted, rtol=step, atol=step
        )


def test_one_model_comes_back_as_it_was() -> None:
    alone = tuned("a")
    for text in ("fedavg", "task_arithmetic", "ties(density=1.0)"):
        merged = merge([alone], text, base=BASE)
        np.testing.assert_allclose(merged["big"], alone["big"], rtol=1e-6, atol=1e-6)
    assert np.array_equal(merge([alone], "fedavg")["big"], alone["big"])


def test_negation_and_analogy() -> None:
    a, b = tuned("a"), tuned("bb")
    merged = merge([a, b], "task_arithmetic", base=BASE, weights=[1, -1])
    np.testing.assert_allclose(
        merged["big"], BASE["big"] + a["big"] - b["big"], atol=1e-6
    )


def test_tied_weights_stay_tied() -> None:
    def with_tie(tensors: Model) -> Model:
        return tensors | {"head": tensors["big"]}

    models = [with_tie(tuned("a")), with_tie(tuned("bb"))]
    for text in ("fedavg", "dare(density=0.5)"):
        merged = merge(models, text, base=with_tie(dict(BASE)))
        assert merged["head"] is merged["big"]


def test_dare_depends_on_its_seed_alone() -> None:
    models = [tuned("a"), tuned("bb")]
    first = merge(models, "dare(density=0.5)", base=BASE, seed=1)
    assert np.array_equal(
        first["big"], merge(models, "dare(density=0.5)", base=BASE, seed=1)["big"]
    )
    other = merge(models, "dare(density=0.5)", base=BASE, seed=2)["big"]
    assert not np.array_equal(first["big"], other)


@pytest.mark.parametrize(
    ("text", "weights", "told"),
    [
        ("fedavg", [1, -1], "negative weight"),
        ("ties", [2, -1], "negative weight"),
        ("fedavg", [0, 0], "all zero"),
        ("task_arithmetic", [0.0, 0.0], "all zero"),
        ("fedavg", [1], "1 weights for 2 models"),
        ("fedavg", [1, float("nan")], "finite"),
        ("ties(density=0)", None, "density"),
        ("ties(density=1.01)", None, "density"),
        ("grouped(fedavg, ties)", None, "region"),
        ("nonsense", None, "unknown name"),
    ],
)
def test_what_is_asked_for_wrongly(
    text: str, weights: list[float] | None, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        merge([tuned("a"), tuned("bb")], text, base=BASE, weights=weights)


def test_only_a_mean_does_without_a_base() -> None:
    with pytest.raises(ConfigError, match="--base"):
        merge([tuned("a"), tuned("bb")], "ties")
    with pytest.raises(ConfigError, match="at least one"):
        merge([], "fedavg")

"""What mergekit, peft and the TIES paper's code compute, on the same tensors."""

from typing import Literal

import numpy as np
import pytest

from fedelta.aggregators.base import Member
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.reductions import reduce
from fedelta.protocols import seeds
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.vectors import TaskVector

from .cases import KEY, Reals, drawn, floats, merged, reals


def paper(vectors: list[Reals], density: float) -> Reals:
    """Yadav et al.'s code: one threshold, one tie-breaking sign, no weights."""
    size = vectors[0].size
    kept = []
    for vector in vectors:
        sizes = sorted(abs(x) for x in vector)
        threshold = sizes[max(size - int(density * size), 1) - 1]
        kept.append([x if abs(x) >= threshold else 0.0 for x in vector])
    totals = [sum(column) for column in zip(*kept, strict=True)]
    most = np.sign(sum(np.sign(t) for t in totals))
    out = []
    for total, column in zip(totals, zip(*kept, strict=True), strict=True):
        sign = np.sign(total) or most
        side = [x for x in column if (x > 0 if sign > 0 else x < 0)]
        out.append(sum(side) / max(len(side), 1))
    return np.array(out)


@pytest.mark.parametrize("density", [0.2, 0.55, 1.0])
def test_the_papers_code(density: float) -> None:
    vectors = [np.round(v, 1) for v in drawn(4, 300)]  # ties and zero sums
    members = [
        Member(f"{k}", TaskVector.of({"a": floats(v[:80]), "b": floats(v[80:])}))
        for k, v in enumerate(vectors)
    ]
    text = f"ties({density}, compat='paper')"
    made = reduce(recipe(text), members, KEY).tensors
    whole = np.concatenate([made["a"], made["b"]])
    exact = [reals(floats(v)) for v in vectors]
    np.testing.assert_allclose(whole, paper(exact, density), rtol=1e-6, atol=1e-7)


def test_one_threshold_over_the_whole_vector() -> None:
    vector = np.round(drawn(1, 1000)[0], 1)
    parts = {"a": floats(vector[:400]), "b": floats(vector[400:])}
    made = reduce(
        recipe("ties(0.35, scope='vector')"), [Member("x", TaskVector.of(parts))], KEY
    ).tensors
    order = sorted(range(1000), key=lambda i: (-abs(vector[i]), i))[:350]
    wanted = np.zeros(1000, np.float32)
    wanted[order] = vector[order]
    assert np.array_equal(np.concatenate([made["a"], made["b"]]), wanted)


@pytest.mark.peer("torch", "peft")
@pytest.mark.parametrize("method", ["total", "frequency"])
@pytest.mark.parametrize("density", [0.3, 0.999])
def test_peft(density: float, method: Literal["total", "frequency"]) -> None:
    import torch
    from peft.utils.merge_utils import ties

    vectors, weights = drawn(5, 40, 25), [1, 2, 3, 1, 2]
    theirs = ties(
        [torch.from_numpy(floats(v)) for v in vectors],
        torch.tensor(weights, dtype=torch.float32),
        density,
        method,
    ).numpy()
    election = "mass" if method == "total" else "count"
    text = f"ties({density}, election={election!r}, compat='peft')"
    np.testing.assert_allclose(
        merged(text, vectors, weights), theirs, rtol=1e-5, atol=1e-6
    )


def mergekit(
    name: str, vectors: list[Reals], weights: list[int], **knobs: float
) -> Reals:
    import torch
    from mergekit.merge_methods.api import merge_tensors

    inputs = [np.zeros_like(vectors[0]), *vectors]
    made = merge_tensors(
        [torch.from_numpy(floats(one)) for one in inputs],
        name,
        parameters={"weight": [float(w) for w in weights], **knobs},
        base_index=0,
    )
    return reals(made.numpy())


@pytest.mark.peer("torch", "mergekit")
@pytest.mark.parametrize("density", [0.001, 0.3, 1.0])
def test_mergekits_ties(density: float) -> None:
    vectors, weights = drawn(5, 40, 25), [1, 2, 3, 1, 2]
    theirs = mergekit("ties", vectors, weights, density=density)
    made = merged(f"ties({density}, compat='mergekit')", vectors, weights)
    np.testing.assert_allclose(made, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.peer("torch", "mergekit")
def test_without_ties_and_draws_mergekit_and_we_agree() -> None:
    vectors, weights = drawn(3, 40, 25), [1, 2, 4]
    theirs = mergekit("ties", vectors, weights, density=0.3)
    made = merged("ties(0.3)", vectors, weights)
    np.testing.assert_allclose(made, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.peer("torch", "mergekit")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("breadcrumbs", "breadcrumbs(0.6, 0.11, compat='mergekit')"),
        ("breadcrumbs_ties", "breadcrumbs_ties(0.6, 0.11, compat='mergekit')"),
    ],
)
def test_mergekits_breadcrumbs(name: str, text: str) -> None:
    vectors, weights = drawn(3, 41, 25), [1, 2, 4]
    theirs = mergekit(name, vectors, weights, density=0.6, gamma=0.11)
    made = merged(text, vectors, weights)
    np.testing.assert_allclose(made, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.peer("torch", "mergekit")
@pytest.mark.parametrize(
    ("name", "text", "knobs"),
    [
        ("dare_linear", "dare(0.3, compat='mergekit')", {}),
        ("dare_ties", "dare_ties(0.3, compat='mergekit')", {}),
        ("della", "della(0.3, 0.2, compat='mergekit')", {"epsilon": 0.2}),
    ],
)
def test_mergekits_draws(
    name: str, text: str, knobs: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their generator is handed our numbers; everything else is theirs."""
    import torch

    vectors, weights = drawn(3, 41, 25), [1, 2, 4]
    members = iter(range(3))

    def draw(odds: torch.Tensor) -> torch.Tensor:
        key = KEY.of(f"m{next(members)}")
        if name == "della":
            drawn_ = seeds.uniform(key.seed("sample", "w"), 0, 41 * 25)
            kept = drawn_.reshape(41, 25) < odds.double().numpy()
        else:
            kept = seeds.keep(key.seed("drop", "w"), 0, 41 * 25, 0.3).reshape(41, 25)
        return torch.from_numpy(kept).float()

    monkeypatch.setattr(torch, "bernoulli", draw)
    theirs = mergekit(name, vectors, weights, density=0.3, **knobs)
    made = merged(text, vectors, weights)
    np.testing.assert_allclose(made, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "text", ["ties(compat='llama')", "dare(compat='peft')", "dare(rescale='l3')"]
)
def test_unknown_peers_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        recipe(text)

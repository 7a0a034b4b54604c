"""Spectral merges as fusion-bench computes them, where it is installed.

It installs without its own requirements, most of which nothing here needs:
``make peers``.
"""

from importlib import import_module
from typing import Any

import numpy as np
import pytest

from .cases import Reals, drawn, merged

near: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-4}
pytestmark = [
    pytest.mark.peer("omegaconf", "lightning", "torchmetrics"),
    pytest.mark.filterwarnings("ignore"),
]


def imported(name: str) -> Any:
    """One of its modules (the package hides its own spec, so no marker finds it)."""
    pytest.importorskip("fusion_bench")
    return import_module(f"fusion_bench.method.{name}")


def theirs(name: str, vectors: list[Reals], **knobs: float) -> Reals:
    import torch

    peer = imported("isotropic_merging.iso_utils")
    given = [{"w": torch.from_numpy(np.float32(one))} for one in vectors]
    made = getattr(peer, name)(given, accelerator="cpu", **knobs)
    return np.asarray(made["w"].numpy(), float)


def test_iso_c() -> None:
    vectors = drawn(3, 14, 10)
    wanted = theirs("iso_c", vectors)
    np.testing.assert_allclose(merged("iso_c", vectors), wanted, **near)


@pytest.mark.parametrize("common", [0.0, 0.3, 0.8, 0.85])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_iso_cts(common: float, count: int) -> None:
    vectors = drawn(count, 14, 10)
    wanted = theirs("iso_cts", vectors, common_space_fraction=common)
    made = merged(f"iso_cts({common})", vectors)
    np.testing.assert_allclose(made, wanted, **near)


@pytest.mark.parametrize("density", [0.2, 0.5])
def test_ties_of_the_papers_code(density: float) -> None:
    import torch

    peer = imported("ties_merging.ties_merging_utils")
    vectors = drawn(3, 200)
    given = torch.from_numpy(np.array(vectors, np.float32))
    found = peer.ties_merging(given, 100 * density, "mean")
    made = merged(f"ties({density}, compat='paper')", vectors)
    np.testing.assert_allclose(made, found.numpy(), **near)


@pytest.mark.parametrize("count", [2, 3])
def test_tsv(count: int) -> None:
    import torch

    peer = imported("task_singular_vector.utils.TSVM_utils")
    vectors = drawn(count, 14, 12)
    given = [{"w": torch.from_numpy(np.float32(one))} for one in vectors]
    found = peer.compute_and_sum_svd_mem_reduction(given, accelerator="cpu")
    np.testing.assert_allclose(merged("tsv", vectors), found["w"].numpy(), **near)


@pytest.mark.parametrize(
    ("text", "place", "name"),
    [
        ("magmax", "magmax.magmax", "_magmax_select"),
        ("emr", "emr_merging.utils", "emr_merge"),
    ],
)
def test_contests(text: str, place: str, name: str) -> None:
    import torch

    vectors = drawn(3, 40, what=text)
    given = [{"w": torch.from_numpy(np.float32(one))} for one in vectors]
    found = getattr(imported(place), name)(given)
    found = found[0] if isinstance(found, tuple) else found
    np.testing.assert_allclose(merged(text, vectors), found["w"].numpy(), **near)

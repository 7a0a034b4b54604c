"""Spectral merges as fusion-bench computes them, where it is installed.

Its dependencies are heavy, so this is compared only where somebody installed them.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from .cases import Reals, drawn, merged

near: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-4}
LACKING = [n for n in ("omegaconf", "lightning", "torchmetrics") if not find_spec(n)]
pytestmark = [
    pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)}"),
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

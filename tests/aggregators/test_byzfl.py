"""Robust rules as ByzFL computes them, where it is installed.

ByzFL itself wants torchvision, for its benchmark; its aggregators do not: only the
folder's name is put in place, not what its ``__init__`` reads. What it calls Krum asks
n - f - 1 neighbours and not, as Blanchard et al. do, n - f - 2: ours with one hostile
member fewer.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any

import numpy as np
import pytest

from .cases import Reals, drawn, merged

pytestmark = pytest.mark.peer("byzfl", "scipy", "torch")
COUNT, HOSTILE = 9, 2


@pytest.fixture
def byzfl(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = find_spec("byzfl")
    if spec is None:
        pytest.skip("byzfl is not installed")
    monkeypatch.setitem(sys.modules, "byzfl", module_from_spec(spec))
    return import_module("byzfl.aggregators")


def mixed(byzfl: Any) -> Callable[[Reals], Reals]:
    """Their mixing, then their median."""
    first, then = byzfl.NNM(f=HOSTILE), byzfl.Median()
    return lambda values: np.asarray(then(first(values)))


THEIRS: dict[str, Callable[[Any], Callable[[Reals], Reals]]] = {
    "fedavg()": lambda byzfl: byzfl.Average(),
    "median()": lambda byzfl: byzfl.Median(),
    f"trimmed_mean(trim={HOSTILE / COUNT})": lambda byzfl: byzfl.TrMean(f=HOSTILE),
    f"krum(hostile={HOSTILE - 1})": lambda byzfl: byzfl.Krum(f=HOSTILE),
    f"multi_krum(hostile={HOSTILE - 1}, count={COUNT - HOSTILE})": lambda byzfl: (
        byzfl.MultiKrum(f=HOSTILE)
    ),
    "geometric_median(steps=3000, smoothing=1e-9)": lambda byzfl: byzfl.GeometricMedian(
        nu=1e-9, T=3000
    ),
    "centered_clipping(radius=4.0, steps=3)": lambda byzfl: byzfl.CenteredClipping(
        L=3, tau=4.0
    ),
    f"nnm(median(), hostile={HOSTILE})": mixed,
}


@pytest.mark.parametrize("text", THEIRS)
@pytest.mark.parametrize("far", [0.0, 5.0])
def test_robust_rules_are_byzfls(byzfl: Any, text: str, far: float) -> None:
    honest = drawn(COUNT, 40, what=f"byzfl {far}")
    vectors = [one + far * (at < HOSTILE) for at, one in enumerate(honest)]
    wanted = THEIRS[text](byzfl)(np.array(vectors))
    np.testing.assert_allclose(merged(text, vectors), wanted, rtol=1e-4, atol=1e-5)

"""Learned coefficients: gradients as differences have them, and models that load."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedelta.client.blends import Aim, Blend, descend
from fedelta.client.trials import trial
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config
from fedelta.server.evidence.blends import _given, blend
from fedelta.server.evidence.keepers import model
from fedelta.server.evidence.revisits import revisited
from tests import tiny
from tests.federations import federate


def ran(folder: Path, kind: str, **given: Any) -> Config:
    made = tiny.lm_config if kind == "causal-lm" else tiny.config
    tables: dict[str, Any] = {
        "run": {"rounds": 1},
        "data": {"validation": 0.3},
        "eval": {"local": False, "metric": "loss"},
        "wire": {"up": "fp32"},
    }
    config = made(folder, **(tables | given))
    federate(config)
    return config


@pytest.mark.parametrize("aim", ["entropy", "loss"])
@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("classification", {"lora": {"space": "frozen-a"}}),
        ("causal-lm", {}),
        ("causal-lm", {"train": {"mode": "full", "max_length": 48}}),
    ],
)
def test_slopes_are_those_of_differences(
    tmp_path: Path, kind: str, given: Any, aim: Aim
) -> None:
    config = ran(tmp_path, kind, **given)
    with revisited(Path(config.run.out)) as visit, visit.round(1) as played:
        base = model(visit.session)
        some = visit.tape.task.test.take(np.arange(12))
        made = _given(base, played, layers=True)
        values = np.full((len(made.updates), len(made.names)), 0.3)
        before = {name: one.copy() for name, one in base.weights().items()}
        _, slopes = descend(base, made, values, some, (config, aim))
        for place in ((0, 0), (1, len(made.names) - 1)):
            step = np.zeros_like(values)
            step[place] = 0.02
            above, _ = descend(base, made, values + step, some, (config, aim))
            below, _ = descend(base, made, values - step, some, (config, aim))
            told = (above - below) / 0.04
            assert slopes[place] == pytest.approx(told, rel=0.05, abs=2e-4)
        for name, one in base.weights().items():
            assert np.array_equal(one, before[name]), "no trace is left"


@pytest.mark.parametrize("layers", [False, True])
def test_a_blend_of_a_runs_own_shares_is_its_mean(
    tmp_path: Path,
    layers: bool,  # noqa: FBT001
) -> None:
    config = ran(tmp_path, "classification", merge={"weights": "uniform"})
    with revisited(Path(config.run.out)) as visit, visit.round(1) as played:
        base = model(visit.session)
        made = _given(base, played, layers=layers)
        with trial(base, made.mixed(np.full((4, len(made.names)), 0.25))):
            found = {name: one.copy() for name, one in base.weights().items()}
        with trial(base, played.merged().update):
            for name, one in base.weights().items():
                assert np.allclose(one, found[name], atol=1e-5)


@pytest.mark.peer("cma")
@pytest.mark.parametrize("aim", ["entropy", "loss", "search"])
def test_what_is_aimed_at_gets_less(tmp_path: Path, aim: str) -> None:
    config = ran(tmp_path, "classification")
    out = tmp_path / "out"
    said = list[tuple[int, int]]()
    found = blend(
        Path(config.run.out),
        out,
        aim,
        4,
        layers=aim == "loss",
        tell=lambda *both: said.append(both),
    )
    assert said == [(done, 5) for done in range(6)]
    assert len(found["met"]) == 5
    assert min(found["met"]) < found["met"][0]
    assert len(found["coefficients"]) == 4
    assert found["judged"].keys() == {"last", "merged", "blend"}
    if aim == "loss":
        assert len(found["coefficients"]["client-00"]) > 2
        assert found["judged"]["blend"] < found["judged"]["merged"]
    assert (out / "model" / "adapter_config.json").exists()
    with pytest.raises(ConfigError, match="there already"):
        blend(Path(config.run.out), out, aim)


def test_what_cannot_be_blended_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one of entropy"):
        blend(tmp_path, tmp_path / "out", "magic")
    shapes = {"a.lora_B.weight": (2, 1), "a.lora_A.weight": (1, 3)}
    update = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    assert Blend.of({"one": update}, layers=False).groups == {"a.weight": 0}

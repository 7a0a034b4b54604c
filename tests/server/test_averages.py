"""What is handed out under a server optimiser that averages."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config
from fedelta.protocols.vectors import Floats
from fedelta.server import checks
from tests import tiny
from tests.federations import federate


def run(
    folder: Path, optimizer: str, rounds: int
) -> tuple[dict[str, Any], dict[str, Floats], dict[str, Floats]]:
    """A summary, the exported head, and the exported adapter's products."""
    config = tiny.config(folder)
    out = folder / f"{optimizer or 'none'}-{rounds}"
    config = replace(
        config,
        run=replace(config.run, out=str(out), rounds=rounds),
        merge=replace(config.merge, server_optimizer=optimizer),
        wire=replace(config.wire, up="fp16", down="fp32"),
    )
    summary = federate(config)
    adapter = load_file(out / "model" / "adapter_model.safetensors")
    products = {
        name: adapter[name] @ adapter[name.replace("lora_B", "lora_A")]
        for name in adapter
        if "lora_B" in name
    }
    return summary, load_file(out / "model" / "head.safetensors"), products


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("averages")


@pytest.fixture(scope="module")
def plain(folder: Path) -> list[tuple[dict[str, Any], Any, Any]]:
    return [run(folder, "", rounds) for rounds in (1, 2)]


@pytest.mark.parametrize(
    ("text", "weights"), [("swa()", (0.5, 0.5)), ("ema(0.25)", (0.25, 0.75))]
)
def test_the_average_is_handed_out(
    folder: Path, plain: list[Any], text: str, weights: tuple[float, float]
) -> None:
    summary, head, products = run(folder, text, 2)
    (_, first, early), (last, second, late) = plain
    for name, value in head.items():
        wanted = weights[0] * first[name] + weights[1] * second[name]
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)
    for name, value in products.items():
        wanted = weights[0] * early[name] + weights[1] * late[name]
        np.testing.assert_allclose(value, wanted, rtol=1e-3, atol=1e-5)
    assert summary["model_digest"] == last["model_digest"]  # training went on from it
    assert summary["average"]["model_digest"] != summary["model_digest"]
    assert summary["average"]["metrics"].keys() == last["metrics"]["final"].keys()


def test_others_hand_out_the_last_model(plain: list[Any]) -> None:
    assert "average" not in plain[1][0]


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_best_of_averages_is_not_kept(keep: Literal["last", "best"]) -> None:
    asked = Config(merge=replace(Config().merge, server_optimizer="swa()"))
    asked = replace(asked, eval=replace(asked.eval, keep=keep))
    if keep == "last":
        checks.check(asked)
        return
    with pytest.raises(ConfigError, match="average of all models"):
        checks.check(asked)

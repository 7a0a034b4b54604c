"""A server that leaves judging to its clients never loads torch."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedelta.client import standins
from fedelta.client.data import load
from fedelta.client.masters import Masters, Spilled
from fedelta.client.models import load_base
from fedelta.protocols import digests
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config
from fedelta.server.simulations import simulate
from tests import tiny

SCRIPT = """
import json, sys
from fedelta.client.sessions import settings
from fedelta.server import coordination
from fedelta.server.simulations import simulate

def close(session, grid):
    print(json.dumps({"torch": "torch" in sys.modules, "round": session.round}))
    return ended(session, grid)

ended, coordination._close = coordination._close, close
summary = simulate(settings(sys.stdin.read()), workers=1)
print(json.dumps(summary))
"""


def ran(config: Config) -> tuple[dict[str, Any], dict[str, Any]]:
    """What held in the server's process as its rounds were done, and the summary."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(asdict(config)),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    held, summary = done.stdout.splitlines()[-2:]
    return json.loads(held), json.loads(summary)


def same_files(one: Path, other: Path) -> None:
    names = {path.name for path in one.glob("*.safetensors")}
    assert names
    for name in names:
        ours, theirs = load_file(one / name), load_file(other / name)
        assert digests.of_tensors(ours) == digests.of_tensors(theirs)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_torch_stays_out(tmp_path: Path, mode: str) -> None:
    tables: dict[str, Any] = {
        "train": {"mode": mode, "steps": 2},
        "eval": {"where": "clients", "local": False},
    }
    lean = tiny.config(tmp_path, **tables)
    held, summary = ran(lean)
    assert held == {"torch": False, "round": 2}
    tables["run"] = {"out": str(tmp_path / "usual")}
    usual = tiny.config(tmp_path, **tables)  # here torch is loaded already
    wanted = simulate(usual, workers=0)
    assert summary["model_digest"] == wanted["model_digest"]
    assert summary["metrics"]["final"] == wanted["metrics"]["final"]
    same_files(Path(lean.run.out) / "model", Path(usual.run.out) / "model")


@pytest.mark.parametrize(
    ("space", "recipe"), [("product", "fedavg"), ("core", "fisher"), ("share-a", "")]
)
def test_a_trunk_is_what_the_base_tells(
    tmp_path: Path, space: str, recipe: str
) -> None:
    given = {"lora": {"space": space}, "merge": {"recipe": recipe or "fedavg"}}
    config = tiny.config(tmp_path, **given)
    labels = load(config).labels
    base = load_base(config, labels)
    folder = tmp_path / "said"
    folder.mkdir()
    standins.write(config, labels, folder)
    trunk = standins.read(folder, config)
    assert (trunk.digest, trunk.heads) == (base.digest, base.heads)
    assert trunk.layout(config) == base.layout(config)
    assert trunk.update_layout() == base.update_layout()
    assert digests.of_tensors(trunk.weights()) == digests.of_tensors(base.weights())
    layout = base.update_layout()
    shapes = zip(layout.names, layout.shapes, strict=True)
    update = {name: np.full(shape, 0.25, np.float32) for name, shape in shapes}
    for one in (trunk, base):
        one.fold(update, "first")
    assert trunk.version == base.version
    assert digests.of_tensors(trunk.weights()) == digests.of_tensors(base.weights())


def test_a_model_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, model={"id": str(tmp_path / "nowhere")})
    with pytest.raises(ConfigError, match="no such folder"):
        standins.standin(config, ["a", "b"])


def test_what_is_spilled_comes_back(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "empty": np.zeros((0, 2), np.float32),
        "one": np.full(1, 7, np.float32),
    }
    spilled = Spilled(arrays, str(tmp_path))
    assert list(spilled) == list(arrays)
    assert all(np.array_equal(spilled[name], one) for name, one in arrays.items())
    assert not list(tmp_path.iterdir())


def test_large_weights_go_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from fedelta.client import masters

    monkeypatch.setattr(masters, "SPILLED", 16)
    held = Masters({"w": np.arange(9, dtype=np.float32)})
    assert isinstance(held.origin(), Spilled)
    held.fold({"w": np.ones(9, np.float32)})
    assert held.weights()["w"][3] == 4
    held.reset()
    assert held.weights()["w"][3] == 3


def test_a_process_that_dies_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ConfigError, match="ended with status 1"):
        standins.standin(tiny.config(tmp_path), ["a", "b"])

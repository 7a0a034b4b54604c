"""Every command about evidence, as it is typed: what it prints is what it wrote."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest
from typer.testing import CliRunner

from fedelta.aggregators.recipes import METHODS
from fedelta.protocols.settings import Config
from fedelta.server.cli import app
from fedelta.server.evidence.watches import Replays
from tests import tiny
from tests.federations import federate

Said = Callable[..., str]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = tiny.config(
        tmp_path_factory.mktemp("commands"),
        data={"validation": 0.4, "alpha": 0.5, "hand_on": True},
        run={"rounds": 1},
        train={"steps": 2},
        eval={"central": True, "metric": "loss"},
    )
    federate(config)
    return config


@pytest.fixture
def said(ran: Config) -> Said:
    def run(command: str, *words: str) -> str:
        asked = [command, ran.run.out, *words]
        made = CliRunner().invoke(app, asked, env={"COLUMNS": "220"})
        assert made.exit_code == 0, made.output
        return made.stdout

    return run


def told(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = json.loads(path.read_text())
    return found


def test_diagnose_and_report(ran: Config, said: Said) -> None:
    text = said("diagnose", "--probe", "4", "--texts", "8")
    found = json.loads((Path(ran.run.out) / "diagnosis.json").read_text())
    for name, one in found["clients"]["by_client"].items():
        assert name in text
        assert f"{one['merged']:.3f}" in text
    assert f"{found['clients']['retained']['r_geo']:.3f}" in text
    for name in ("base", "last", "merged", "ensemble", "trained on all data"):
        value = {name: {"loss": found["trained"].get(name)}} | found["sets"]["test"]
        assert f"{value[name]['loss']:.3f}" in text, name
    assert f"{found['calibration']['merged']['ece']:.3f}" in text
    assert f"{found['chances']['base']['accuracy']['low'] * 100:+.1f} points to" in text
    assert "greedy soup" in text
    assert "fedelta report" in text
    ends = json.loads((Path(ran.run.out) / "summary.json").read_text())["metrics"]
    alone = fmean(one["loss"] for one in ends["local"])
    whole = ends["central"]["loss"]
    assert list(found["trained"].values()) == [pytest.approx(alone), whole]
    page = Path(said("report").strip()).read_text()
    for name, value in found["trained"].items():
        assert name in page
        assert f"{value:.3f}" in page


def test_replay_every_and_compare(
    ran: Config, said: Said, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said("replay", "--every")
    assert "left out: fisher" in text
    heard = Replays(len(METHODS))
    for name in ("fedavg", "ties"):
        heard({"kind": "run", "recipe": name, "space": "product"})
    heard({"kind": "evaluation", "round": 1, "metrics": {"loss": 1.0}})
    assert capsys.readouterr().err.startswith(f"2/{len(METHODS)}  round 1, ties @")
    text = said("compare")
    page = (Path(ran.run.out) / "compare.html").read_text()
    done = list((Path(ran.run.out) / "replays").glob("*/summary.json"))
    assert len(done) > 20
    for path in done:
        summary = json.loads(path.read_text())
        value = f"{summary['metrics']['final']['loss']:.3f}"
        assert value in text, path
        assert value in page
    assert "p of signs" not in text, "one pair has none"
    values = [float(one) for one in re.findall(r"replay: .*?(\d+\.\d{3})", text)]
    assert len(values) == len(done)
    assert values == sorted(values), "the best first"


def test_models_of_clients_own(ran: Config, said: Said, tmp_path: Path) -> None:
    text = said("personalise", "--steps", "2", "--no-local", "--texts", "8")
    for name, one in told(Path(ran.run.out) / "personal.json")["by_client"].items():
        assert name in text
        assert f"{one['personal']:.3f}" in text
    text = said("cluster", "--out", str(tmp_path / "apart"))
    for place in (1, 2):
        path = tmp_path / "apart" / f"cluster-{place}.toml"
        assert f"fedelta simulate {path}" in text


@pytest.mark.filterwarnings("ignore:.is_gradient:FutureWarning")  # peft's own
def test_experts_and_blends(said: Said, tmp_path: Path) -> None:
    out = tmp_path / "experts"
    text = said("experts", "--out", str(out), "--steps", "1", "--top", "2")
    for one in told(out / "experts.json")["by_client"].values():
        assert f"{one['routed']:.3f}" in text
    out = tmp_path / "blended"
    text = said("blend", "--out", str(out), "--steps", "2", "--layers")
    for one in told(out / "blend.json")["coefficients"].values():
        assert all(f"{value:.3f}" in text for value in one.values())
    assert (out / "model" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("kind", ["peft", "transformers", "mergekit"])
def test_exports(said: Said, tmp_path: Path, kind: str) -> None:
    out = tmp_path / kind
    assert str(out) in said("export", "--to", kind, "--out", str(out))
    head = (out / "README.md").read_text().partition("\n---\n")[0]
    assert f"library_name: {kind}" in head

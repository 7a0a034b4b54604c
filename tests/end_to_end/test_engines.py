"""Both engines, one federation: the same client and server apps, the same bytes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config
from fedelta.server import flowers, records
from fedelta.server.simulations import resume, simulate
from tests import tiny

RECORD = "record.jsonl"


def on(engine: str, folder: Path) -> Config:
    config = tiny.config(folder, wire={"up": "dare(density=0.5)"})
    chosen: Any = engine
    run = replace(config.run, engine=chosen, out=str(folder / engine))
    return replace(config, run=run, eval=replace(config.eval, local=False))


@pytest.mark.slow
@pytest.mark.peer("ray")
def test_both_engines_merge_to_the_same_bytes(tmp_path: Path) -> None:
    heard: list[records.Line] = []
    flower = on("flower", tmp_path)
    simulated = simulate(flower, workers=2, listeners=[heard.append])
    ours = simulate(on("in-process", tmp_path), workers=0)
    assert simulated["run"] == ours["run"]
    assert simulated["model_digest"] == ours["model_digest"]
    assert simulated["metrics"]["final"] == ours["metrics"]["final"]
    for number in (1, 2):
        sealed = [
            {
                path.name: path.read_bytes()
                for path in (tmp_path / engine / "journal" / f"round-{number:04}").glob(
                    "*.payload"
                )
            }
            for engine in ("flower", "in-process")
        ]
        assert sealed[0] == sealed[1]
        assert len(sealed[0]) == 4
    kinds = [line["kind"] for line in heard]
    assert kinds.count("round") == 2
    assert kinds == [one["kind"] for one in records.read(tmp_path / "flower" / RECORD)]
    assert resume(tmp_path / "flower") == simulated


def test_without_ray_the_engine_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flowers, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"fedelta\[simulation\]"):
        simulate(on("flower", tmp_path))


def test_flower_is_kept_to_itself(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("FLWR_HOME", "/elsewhere")
    monkeypatch.setenv("FLWR_LOCAL_SUPERLINK_HTTP_API_PORT", "1")
    around = flowers.surroundings(tmp_path)
    assert around["FLWR_HOME"] == str(tmp_path)
    assert "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT" not in around
    for name in (
        "FLWR_TELEMETRY_ENABLED",
        "RAY_USAGE_STATS_ENABLED",
    ):
        assert around[name] == "0"
    for name in (
        "FLWR_DISABLE_UPDATE_CHECK",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION",
    ):
        assert around[name] == "1"
    flowers._write(on("flower", tmp_path), tmp_path, tmp_path / "home")
    assert "dependencies = []" in (tmp_path / "home/app/pyproject.toml").read_text()

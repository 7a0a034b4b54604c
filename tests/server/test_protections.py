"""Runs under client-level noise: what is charged, repeated, refused and withheld."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedelta.client.accountants import Event, epsilon
from fedelta.client.ledgers import Charge, Ledger
from fedelta.protocols.errors import BudgetError, CheckpointError, ConfigError
from fedelta.protocols.secrets import Secret
from fedelta.protocols.settings import Config
from fedelta.server import checks, files, protections, report
from fedelta.server.histories import History
from fedelta.server.hosts.ledgers import visible
from fedelta.server.replays import replay
from fedelta.server.simulations import resume, simulate
from tests import tiny
from tests.federations import federate, lines

pytestmark = pytest.mark.peer("dp_accounting")
NOISY = {"mode": "client", "clip": 0.5, "noise_multiplier": 2.0}


def made(tmp_path: Path, name: str, **tables: Any) -> Config:
    tiny.model(tmp_path)
    tiny.data(tmp_path)
    given: dict[str, Any] = {
        "model": {"id": str(tmp_path / "model")},
        "data": {"source": str(tmp_path / "data.jsonl"), "clients": 4, "alpha": 1.0},
        "lora": {"space": "frozen-a"},
        "merge": {"weights": "uniform"},
        "eval": {"local": False},
        "privacy": dict(NOISY),
    }
    for table, keys in tables.items():
        given[table] = given.get(table, {}) | keys
    return tiny.config(tmp_path / name, **given)


def test_a_run_under_noise_tells_what_it_spent_everywhere(tmp_path: Path) -> None:
    config = made(tmp_path, "a", privacy=NOISY | {"rate": 0.5, "epsilon": 8.0})
    summary = federate(config)
    spent = epsilon([Event(2.0, 0.5, 2)], 1e-5)
    assert summary["privacy"]["epsilon"] == spent
    assert summary["privacy"]["releases"] == 2
    told = lines(config, "privacy")
    assert [one["epsilon"] for one in told] == [
        0.0,
        epsilon([Event(2.0, 0.5)], 1e-5),
        spent,
    ]
    assert told[0]["planned"] == spent
    assert told[0]["denominator"] == 2.0
    assert not lines(config, "diagnostics")
    rounds = lines(config, "round")
    assert rounds[1]["merge"]["epsilon"] == spent
    assert rounds[1]["merge"]["deviation"] == pytest.approx(2.0 * 0.5)
    assert not visible(rounds[0], "client-00")
    page = report.page(History.read(Path(config.run.out)))
    assert f"{spent:.3g}" in page
    assert "by client, at delta 1e-05" in page
    secret = Path(config.run.out) / "privacy" / "secret"
    assert secret.stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigError, match="paid for once"):
        replay(Path(config.run.out), ["ties()"])


def test_samples_are_poisson_and_rounds_without_anyone_are_released(
    tmp_path: Path,
) -> None:
    config = made(tmp_path, "a", run={"rounds": 5}, privacy=NOISY | {"rate": 0.15})
    summary = federate(config)
    counts = [one["accepted"] for one in lines(config, "round")]
    assert summary["rounds"] == len(counts) == 5
    assert 0 in counts  # with chance 1 - 0.478^5 > 0.97 even if all were redrawn
    assert summary["privacy"]["releases"] == 5


@pytest.mark.parametrize(
    ("recipe", "tables"),
    [
        (
            "fedavg()",
            {"lora": {"space": "product"}, "privacy": NOISY | {"quantile": 0.5}},
        ),
        ("ties(density=0.3)", {"privacy": NOISY | {"counts": 0.01}}),
        ("ties(density=0.3)", {"lora": {"space": "residual"}, "wire": {"up": "fp16"}}),
        ("dare(density=0.5)", {"train": {"mode": "full"}, "wire": {"up": "fp16"}}),
    ],
)
def test_spaces_and_recipes_run_under_noise(
    tmp_path: Path, recipe: str, tables: dict[str, Any]
) -> None:
    merge = {"recipe": recipe, "weights": "uniform"}
    given = {"privacy": NOISY | {"clip_noise": 2.0}} | tables
    given["privacy"] = given["privacy"] | {"clip_noise": 2.0}
    config = made(tmp_path, "a", merge=merge, **given)
    checks.check(config)
    summary = federate(config)
    assert summary["privacy"]["releases"] == 2
    told = lines(config, "privacy")[1:]
    moved = told[0]["clip"] != told[1]["clip"]
    assert moved == bool(config.privacy.quantile)


def test_the_same_replies_give_the_same_bytes_and_one_charge(tmp_path: Path) -> None:
    config = made(tmp_path, "a", wire={"feedback": False})
    whole = federate(config)
    folder = Path(config.run.out)
    ledger = (folder / "privacy" / "ledger.jsonl").read_bytes()
    rewind(folder)
    again = resume(folder, workers=0)
    assert again["privacy"]["releases"] == 2
    assert (folder / "privacy" / "ledger.jsonl").read_bytes() == ledger
    assert again["model_digest"] == whole["model_digest"]
    rewind(folder)
    next((folder / "journal" / "round-0002").glob("*.payload")).unlink()
    other = resume(folder, workers=0)  # trained anew: the same reply, the same bytes
    assert other["model_digest"] == whole["model_digest"]


def rewind(folder: Path) -> None:
    """Leave a run of two rounds as a kill before the second one's commit does."""
    (folder / "summary.json").unlink()
    (folder / "journal" / "round-0002" / "manifest.json").unlink()
    first = folder / "state" / "round-0001"
    (folder / "state" / "round-0002").rename(first)
    held = files.read_arrays(first / "privacy.safetensors")
    arrays = held | {"charges": np.array([1.0])}
    files.write_arrays(first / "privacy.safetensors", arrays)


def test_a_run_stops_for_good_at_its_budget(tmp_path: Path) -> None:
    two = epsilon([Event(2.0, 1.0, 2)], 1e-5)
    config = made(tmp_path, "a", privacy=NOISY | {"epsilon": two - 0.1})
    with pytest.raises(ConfigError, match=r"1 rounds fit"):
        simulate(config, workers=0)
    config = made(tmp_path, "b", privacy=NOISY | {"epsilon": two + 0.1})
    folder = Path(config.run.out)
    folder.mkdir(parents=True)
    other = Ledger(folder / "privacy" / "ledger.jsonl", 1e-5)
    other.charge(Charge("client", 1, "a release that a crash kept from us", Event(2.0)))
    with pytest.raises(BudgetError, match="nothing more is released"):
        federate(config)
    assert len(list((folder / "updates").iterdir())) == 1
    with pytest.raises(BudgetError):
        resume(folder, workers=0)


def test_a_ledger_that_was_taken_away_is_missed(tmp_path: Path) -> None:
    config = made(tmp_path, "a")
    federate(config)
    folder = Path(config.run.out)
    rewind(folder)
    (folder / "privacy" / "ledger.jsonl").unlink()
    with pytest.raises(CheckpointError, match="charges of this run are missing"):
        resume(folder, workers=0)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"merge": {"weights": "examples"}}, "weights by examples"),
    ({"merge": {"recipe": "median", "weights": "uniform"}}, "no bound"),
    ({"merge": {"tree": "regions", "weights": "uniform"}}, "regions would send sums"),
    ({"eval": {"where": "clients", "local": False}}, "leaves without noise"),
    ({"eval": {"local": True}}, "models of single clients"),
    ({"lora": {"space": "factors"}}, "no bounded sum"),
    ({"round": {"clients": 2}}, "no Poisson sample"),
    ({"privacy": NOISY | {"clip": 0.0}}, "privacy.clip must be above 0"),
    ({"privacy": NOISY | {"noise_multiplier": 0.0}}, "noise_multiplier"),
    ({"privacy": NOISY | {"delta": 1.0}}, "privacy.delta"),
    ({"privacy": NOISY | {"rate": 0.0}}, "privacy.rate"),
    ({"privacy": NOISY | {"counts": 1.0}}, "for ties"),
    ({"privacy": NOISY | {"noise_by": "clients"}}, "single replies"),
    ({"privacy": NOISY | {"mode": "record"}, "train": {"prox_mu": 0.1}}, "prox_mu"),
    ({"eval": {"probes": True, "local": False}}, "set eval.probes = false"),
    ({"privacy": NOISY | {"mode": "record"}, "train": {"packing": True}}, "packing"),
    (
        {
            "privacy": NOISY | {"mode": "record"},
            "train": {"mode": "full"},
            "wire": {"up": "fp32"},
        },
        "are taken of adapters",
    ),
    ({"eval": {"central": True}}, "or of all data, are judged without noise"),
    ({"eval": {"where": "both"}}, "leaves without noise"),
    (
        {
            "merge": {"recipe": "regmean", "weights": "uniform"},
            "train": {"mode": "full"},
            "wire": {"up": "fp32"},
        },
        "without noise",
    ),
    ({"merge": {"recipe": "krum", "weights": "uniform"}}, "no bound"),
    (
        {"merge": {"recipe": "grouped(fedavg(), ties())", "weights": "uniform"}},
        "no bound",
    ),
    ({"lora": {"space": "core"}}, "no bounded sum"),
    (
        {"lora": {"space": "share-a"}, "eval": {"where": "none"}},
        "no bounded sum",
    ),
    (
        {
            "train": {"scaffold": True, "optimizer": "sgd", "mode": "full"},
            "wire": {"up": "fp32"},
        },
        "control variates are not clipped",
    ),
    ({"privacy": NOISY | {"secure_aggregation": True}}, "cannot clip what is in"),
    (
        {"merge": {"recipe": "ties(election='count')", "weights": "uniform"}},
        "set privacy.counts above 0",
    ),
]


@pytest.mark.parametrize(("tables", "said"), REFUSED)
def test_what_breaks_the_promise_is_refused_by_name(
    tmp_path: Path, tables: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        checks.check(made(tmp_path, "a", **tables))


@pytest.mark.parametrize("start", [0.01, 30.0])
def test_the_clip_follows_its_quantile_from_both_sides(start: float) -> None:
    """Andrew et al.: the clip comes to where the wanted share of norms is within it."""
    norms = np.linspace(0.5, 4.5, 200)
    config = Config(
        privacy=replace(Config().privacy, mode="client", quantile=0.7, clip_noise=5.0)
    )

    class Stub:
        def __init__(self) -> None:
            self.config = config
            self.roster = range(200)

    session: Any = Stub()
    clip = start
    for step in range(80):
        inside: Any = type("P", (), {"inside": int(np.sum(norms <= clip))})
        drawn = float(Secret(bytes(32)).normals("clip", step, 1)[0])
        clip = protections._followed(session, clip, inside, len(norms), drawn)
    assert clip == pytest.approx(np.quantile(norms, 0.7), rel=0.06)

"""Plans: what they say before a run is what the run then takes."""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fedelta.client.outlines import outline
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config
from fedelta.server.cli import main
from fedelta.server.evidence import sheets, volumes
from fedelta.server.evidence.limits import Limit, changed, ways
from fedelta.server.evidence.plans import BYTES, MEMORY, SECONDS, UP, Planner
from tests import tiny
from tests.federations import federate

from .watching import peaks

FLOOR = (1 << 29, 20.0)
WITHIN = 0.25


def toml(config: Config) -> str:
    """A configuration as TOML, clients left out."""
    lines = []
    for table, keys in asdict(config).items():
        if table != "clients":
            lines.append(f"[{table}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"eval": {"where": "both", "local": False}, "round": {"clients": 2}},
        {
            "wire": {"up": "sparse(density=0.1)", "down": "sign256"},
            "data": {"validation": 0.2},
            "eval": {"where": "clients", "local": False, "every": 2},
        },
        {"train": {"mode": "full"}, "wire": {"up": "auto", "up_bytes": "9kB"}},
    ],
    ids=["usual", "sampled", "sparse", "full"],
)
def test_bytes_are_those_of_the_run(tmp_path: Path, given: dict[str, Any]) -> None:
    sets = {"run": {"rounds": 3, "export": "folded"}, "eval": {"local": False}}
    config = tiny.config(tmp_path, **(sets | given))
    planned = Planner(config, FLOOR).plan()
    sent = federate(config)["bytes"]
    assert planned[BYTES] == pytest.approx(sent["up"] + sent["down"], rel=WITHIN)
    up = sum(one["up"] for one in planned["clients"].values())
    assert up == pytest.approx(sent["up"], rel=WITHIN)


def test_bytes_of_a_language_model_are_those_of_its_run(tmp_path: Path) -> None:
    config = tiny.lm_config(
        tmp_path,
        train={"packing": True, "max_length": 48},
        eval={"local": False, "metric": "perplexity"},
        wire={"up": "sign256", "down": "fp16"},
    )
    planned = Planner(config, FLOOR).plan()
    sent = federate(config)["bytes"]
    assert planned[BYTES] == pytest.approx(sent["up"] + sent["down"], rel=WITHIN)


@pytest.mark.peer("dp_accounting")
def test_what_the_schedule_spends_is_what_its_run_spends(tmp_path: Path) -> None:
    private = {"mode": "client", "clip": 0.5, "noise_multiplier": 2.0, "rate": 0.5}
    config = tiny.config(
        tmp_path,
        run={"rounds": 3},
        privacy=private,
        merge={"weights": "uniform"},
        eval={"local": False},
    )
    planned = Planner(config, FLOOR).plan()["privacy"]
    spent = federate(config)["privacy"]
    assert planned["epsilon"] == pytest.approx(spent["epsilon"], rel=1e-6)
    assert planned["delta"] == spent["delta"]


@pytest.mark.peer("dp_accounting", "opacus")
def test_what_records_spend_is_what_the_largest_ledger_says(tmp_path: Path) -> None:
    config = tiny.config(
        tmp_path,
        data={"clients": 2, "alpha": 0.5},
        train={"phases": (2, 1), "steps": 3},
        privacy={"mode": "record", "clip": 1.0, "noise_multiplier": 1.5},
        merge={"weights": "uniform"},
        eval={"local": False},
    )
    planned = Planner(config, FLOOR).plan()
    spent = federate(config)["privacy"]["epsilon"]
    assert planned["epsilon"] == pytest.approx(spent, rel=1e-6)
    assert planned["privacy"]["epsilon"] == planned["epsilon"]


@pytest.mark.peer("dp_accounting")
def test_a_budget_is_kept_by_what_is_told(tmp_path: Path) -> None:
    private = {"mode": "client", "clip": 0.5, "noise_multiplier": 2.0, "epsilon": 2.0}
    config = tiny.config(
        tmp_path, privacy=private, merge={"weights": "uniform"}, run={"rounds": 3}
    )
    planner = Planner(config, FLOOR)
    found = planner.plan()
    assert found["epsilon"] > 2.0
    text = sheets.spent(found["privacy"])
    assert text.startswith(f"epsilon {found['epsilon']:.3g}, of 2 at delta 1e-05: ")
    told = ways(planner, Limit("epsilon", 2.0))
    for way in told:
        there = planner.plan(changed(config, way.changes))
        assert there["epsilon"] == way.reached <= 2.0
    assert any("noise_multiplier" in way.words for way in told)
    plain = Planner(tiny.config(tmp_path), FLOOR).plan()
    with pytest.raises(ConfigError, match="--limit epsilon"):
        Limit("epsilon", 2.0).reached(plain)


def large(folder: Path) -> Path:
    """A causal LM of 38 million parameters that says nothing."""
    from transformers import LlamaConfig, LlamaForCausalLM

    small = tiny.lm(folder)
    target = folder / "large"
    config = LlamaConfig.from_pretrained(small)
    config.update(
        {
            "hidden_size": 512,
            "intermediate_size": 1536,
            "num_hidden_layers": 12,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 64,
        }
    )
    LlamaForCausalLM(config).save_pretrained(target)
    for path in small.iterdir():
        if not (target / path.name).exists():
            shutil.copy(path, target)
    return target


@pytest.mark.slow
def test_memory_is_that_of_the_processes(tmp_path: Path) -> None:
    config = tiny.lm_config(
        tmp_path,
        run={"rounds": 1, "export": "folded"},
        model={"id": str(large(tmp_path))},
        train={"steps": 2, "batch": 8, "max_length": 48},
        eval={"local": False, "metric": "loss"},
    )
    path = tmp_path / "run.toml"
    path.write_text(toml(config))
    planned = Planner(config).plan()
    held = peaks(["simulate", str(path), "--workers", "1", "--quiet"])
    assert planned[MEMORY] == pytest.approx(held["worker"], rel=WITHIN)
    assert planned["server_memory"] == pytest.approx(held["server"], rel=WITHIN)
    model = planned[MEMORY] - planned["assumed"]["process"]
    assert model > 0.3 * planned[MEMORY], "the process alone would prove nothing"


@pytest.mark.parametrize("mode", ["lora", "full"])
@pytest.mark.parametrize("make", [tiny.config, tiny.lm_config])
def test_rows_between_those_that_were_traced_are_reckoned(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[..., Config],
    mode: str,
) -> None:
    config = make(tmp_path, train={"mode": mode})
    shape, fresh = outline(config, 4), outline(config, 4)
    for tokens in (8, 40, 19, 31):
        shape.training(4, tokens)
    if (
        mode == "lora"
    ):  # whole, at so few tokens, the worst moment is now this, now that
        monkeypatch.setattr(shape.body, "forward", None)  # it cannot be traced any more
    reckoned = [shape.training(4, tokens) for tokens in (9, 24, 39)]
    assert reckoned == [fresh.training(4, tokens) for tokens in (9, 24, 39)]


def test_a_limit_is_met_by_what_is_told(tmp_path: Path) -> None:
    wire = {"up": "fp32", "down": "fp32"}
    config = tiny.config(tmp_path, wire=wire, data={"clients": 2})
    planner = Planner(config, FLOOR)
    usual = planner.plan()
    limit = Limit(BYTES, usual[BYTES] / 2)
    found = ways(planner, limit)
    assert found
    for way in found:
        there = planner.plan(changed(config, way.changes))
        assert there[BYTES] == way.reached <= limit.most
    said = list[tuple[int, int]]()
    (nearest,) = ways(planner, Limit(UP, 1.0), lambda *both: said.append(both))
    assert [done for done, _ in said] == list(range(said[-1][1]))
    assert nearest.reached > 1.0, "nothing gets there: what comes nearest is told"
    leaner = ways(planner, Limit(MEMORY, usual[MEMORY] - 100_000))
    assert all(way.reached < usual[MEMORY] for way in leaner)


def test_slow_lines_and_machines_take_longer(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, plan={"line_up": "1kbit"})
    slow = Planner(config, FLOOR).plan()
    fast = Planner(changed(config, [("plan.line_up", "1Gbit")]), FLOOR).plan()
    one, other = slow["clients"]["client-00"], fast["clients"]["client-00"]
    assert one["line"] - other["line"] == pytest.approx(
        8 * one["up"] / one["rounds"] / 1e3, rel=0.01
    )
    weak = changed(config, [("plan.gflops", 0.001)])
    assert Planner(weak, FLOOR).plan()[SECONDS] > 5 * slow[SECONDS]


def test_the_command_says_what_and_how(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny.config(tmp_path, data={"clients": 2})
    path = tmp_path / "run.toml"
    path.write_text(toml(config))
    main_words = ["plan", str(path), "--limit", "up=300"]
    with pytest.raises(SystemExit) as ended:
        main([*main_words, "--json"])
    assert ended.value.code == 1
    seen = capsys.readouterr()
    assert "reckoned" not in seen.err
    told = json.loads(seen.out)
    assert told[BYTES] > 0
    assert told["limits"][UP]
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(path), "--limit", "up=1GB"])
    assert not ended.value.code
    seen = capsys.readouterr()
    assert "within its limit" in seen.out
    assert "2 clients reckoned in all" in seen.err
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(path), "--limit", "money=3"])
    assert ended.value.code == 2
    assert "goals: bytes" in capsys.readouterr().err
    assert not (Path(config.run.out) / "config.json").exists()


def test_a_line_is_read() -> None:
    assert volumes.rate("2.5kbit") == 2500
    for text in ("fast", "0Mbit", "10"):
        with pytest.raises(ConfigError, match="speed of a line"):
            volumes.rate(text)


def test_a_plans_sheet_is_whole_in_80_columns() -> None:
    parts = dict.fromkeys(("process", "weights", "masters", "working", "updates"), 1)
    one: dict[str, Any] = {
        "rounds": 10,
        "up": 107e3,
        "down": 16.7e6,
        "reply": 15.3e3,
        "memory": 2.53e9,
    }
    one |= {"computing": 45.1, "line": 16.4, "parts": parts}
    found = {"clients": {f"hospital-{n:02}": one for n in range(15)}, "server": parts}
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(sheets.clients(found))
    text = console.export_text()
    assert "…" not in text
    for told in ("hospital-11", "16.7 MB", "45.1 s", "2.53 GB", "compute", "3 more"):
        assert told in text

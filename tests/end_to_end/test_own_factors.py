"""A shared A with everybody's own B, and a core between factors that nobody trains."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedelta.client import data, models
from fedelta.client.adapters import adapted
from fedelta.client.evaluation import evaluate
from fedelta.client.layouts import CORE_NAME, SHARED_NAME
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config
from fedelta.server import checks, premises
from fedelta.server.replays import replay
from tests import tiny
from tests.client import rounds
from tests.federations import federate, lines

pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing:FutureWarning"  # peft's, of transformers' names
)


def config(folder: Path, space: str, **tables: Any) -> Config:
    """The tiny LM, one client a class, in a space."""
    given: dict[str, dict[str, Any]] = {
        "train": {"steps": 6},
        "lora": {"space": space},
        "eval": {"local": False},
        "wire": {"up": "fp16", "down": "fp32"},
    }
    if space == "share-a":
        given["eval"]["where"] = "clients"
    for table, keys in tables.items():
        given[table] = given.get(table, {}) | keys
    made = tiny.lm_config(folder, **given)
    checks.check(made)
    return made


def loaded(made: Config) -> models.Base:
    return models.load_base(made, data.load(made).labels)


def logits(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model(input_ids=torch.arange(3, 40).reshape(1, -1)).logits.numpy()


def test_a_is_shared_and_b_stays_at_home(tmp_path: Path) -> None:
    made = config(tmp_path, "share-a")
    summary = federate(made)
    metrics = summary["metrics"]
    assert metrics["final"]["perplexity"] < metrics["base"]["perplexity"]
    base = loaded(made)
    assert all(name.endswith(SHARED_NAME) for name in base.layout(made).names)
    held = {
        path.parents[2].name: load_file(path)
        for path in (Path(made.run.out) / "clients").rglob("factors/0002.safetensors")
    }
    assert set(held) == set(data.load(made).clients)
    one, other = held["amber"], held["birch"]
    assert all(name.endswith("lora_B.weight") and one[name].any() for name in one)
    assert all(not np.array_equal(one[name], other[name]) for name in one)


def test_what_is_written_is_the_shared_a(tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    made = config(tmp_path, "share-a", wire={"up": "fp32"}, run={"rounds": 1})
    summary = federate(made)
    assert summary["adapter"]["shared"] == "A"
    folder = Path(made.run.out) / "model"
    assert "no finished adapter" in (folder / "README.md").read_text()
    plain = AutoModelForCausalLM.from_pretrained(made.model.id)
    wanted = logits(plain)
    model = PeftModel.from_pretrained(plain, folder)
    np.testing.assert_array_equal(logits(model), wanted)
    start = loaded(made).starts.shared()
    found = load_file(folder / "adapter_model.safetensors")
    for name, a in start.items():
        moved = found[f"base_model.model.{name.replace('shared_A', 'lora_A')}"]
        assert 0 < np.abs(moved - a).max() < 1


def test_a_reply_that_was_not_accepted_leaves_no_b(tmp_path: Path) -> None:
    made = config(tmp_path, "share-a")
    base, home = loaded(made), tmp_path / "home"
    where = rounds.job(made, home, "amber")
    first = rounds.plan(base, made, client="amber")
    begun = rounds.numbers(rounds.ask(where, first))["loss"]
    moved = rounds.update(base, 1, base.digest, 0.0, made.wire.down)
    later = rounds.plan(base, made, [moved], client="amber")
    kept = rounds.numbers(rounds.ask(where, later, [moved]))["loss"]
    lost = replace(later, accepted=0)
    fresh = rounds.numbers(rounds.ask(where, lost, [moved]))["loss"]
    anew = rounds.job(made, tmp_path / "anew", "amber")
    assert fresh == rounds.numbers(rounds.ask(anew, lost, [moved]))["loss"]
    assert kept < fresh
    assert kept < begun


@pytest.mark.parametrize(
    ("said", "tables"),
    [
        ("eval.where", {"eval": {"where": "server"}}),
        ("lora.init", {"lora": {"init": "round"}}),
        ("eval.keep", {"eval": {"keep": "best"}}),
        ("run.export", {"run": {"export": "folded"}}),
    ],
)
def test_what_one_model_would_take_is_refused(
    tmp_path: Path, said: str, tables: Any
) -> None:
    with pytest.raises(ConfigError, match=said):
        config(tmp_path, "share-a", **tables)


@pytest.mark.parametrize(
    ("said", "tables"),
    [
        ("one B and one A", {"lora": {"init": "round"}}),
        ("single records", {"privacy": {"mode": "record"}}),
    ],
)
def test_what_a_core_is_not_is_refused(tmp_path: Path, said: str, tables: Any) -> None:
    made = tiny.lm_config(tmp_path, lora={"space": "core"})
    for table, keys in tables.items():
        made = replace(made, **{table: replace(getattr(made, table), **keys)})
    with pytest.raises(ConfigError, match=said):
        premises.check(made)


def test_personal_runs_are_not_replayed(tmp_path: Path) -> None:
    made = config(tmp_path, "share-a", run={"rounds": 1})
    federate(made)
    with pytest.raises(ConfigError, match="cannot be replayed"):
        replay(Path(made.run.out), ["fedavg"])


def test_the_mean_of_cores_is_the_mean_of_products(tmp_path: Path) -> None:
    base = loaded(config(tmp_path, "core"))
    starts, layout = base.starts, base.update_layout()
    assert all(name.endswith(CORE_NAME) for name in layout.names)
    frame = starts.framed(1)
    for name, one in frame.items():
        rows = one if name.endswith("lora_A.weight") else one.T
        np.testing.assert_allclose(rows @ rows.T, np.eye(4), atol=1e-6)
    cores = [
        {n: np.float32(np.cos(np.arange(16) + k)).reshape(4, 4) for n in layout.names}
        for k in range(3)
    ]
    mean = {n: np.mean([one[n] for one in cores], 0) for n in layout.names}
    whole = starts.completed(mean, 1)
    parts = [starts.completed(one, 1) for one in cores]
    for name in frame:
        if name.endswith("lora_B.weight"):
            a = name.replace("lora_B", "lora_A")
            each = sum(one[name] @ one[a] for one in parts) / 3
            np.testing.assert_allclose(whole[name] @ whole[a], each, atol=1e-5)


def test_a_core_trains_travels_and_is_written(tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    lora = {"rank": 8, "alpha": 16.0}
    made = config(tmp_path, "core", lora=lora, train={"steps": 10})
    summary = federate(made)
    metrics = summary["metrics"]
    assert metrics["final"]["perplexity"] < metrics["base"]["perplexity"]
    assert summary["adapter"]["rank"] == 8
    assert summary["adapter"]["error"] < 1e-6
    task, base = data.load(made), loaded(made)
    sent = [one["payload"] for one in lines(made, "contribution")]
    assert max(sent) < 2 * base.layout(made).size + 4096
    plain = AutoModelForCausalLM.from_pretrained(made.model.id)
    model = PeftModel.from_pretrained(plain, Path(made.run.out) / "model")
    base.network.body.load_state_dict(model.merge_and_unload().state_dict())
    found = evaluate(base, task.test, made)
    assert found["loss"] == pytest.approx(metrics["final"]["loss"], rel=1e-5)


def test_training_a_core_is_what_folding_it_gives(tmp_path: Path) -> None:
    import torch

    made = config(tmp_path, "core")
    base, task = loaded(made), data.load(made)
    start = base.start(made, models.run_key(made), 1)
    with adapted(base, made, start) as adapter:
        for parameter in adapter.parameters.values():
            drawn = torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape)
            parameter.data = 0.3 * drawn
        inside, change = evaluate(base, task.test, made), adapter.change()
    assert evaluate(base, task.test, made)["loss"] != inside["loss"]
    base.fold(change)
    folded = evaluate(base, task.test, made)
    assert folded["loss"] == pytest.approx(inside["loss"], rel=1e-5)


def test_a_core_wider_than_its_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lora\.rank = 17"):
        loaded(config(tmp_path, "core", lora={"rank": 17}))

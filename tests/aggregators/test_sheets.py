"""mergekit's YAML, its knobs by depth and by name, and receipts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fedelta.aggregators import sheets
from fedelta.aggregators.knobs import first, resolved
from fedelta.aggregators.receipts import Job, place, repeat, run
from fedelta.protocols.errors import CheckpointError, ConfigError

from .cases import Reals, drawn, floats, reals

NAMES = ["embed.weight", *[f"layers.{i}.mlp.weight" for i in range(5)], "norm.weight"]
DEPTHS = [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 0.0]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Files base, a, b and c of the same tensors."""
    for at, model in enumerate(["base", "a", "b", "c"]):
        values = drawn(len(NAMES), 6, 5, what=model)
        scale = 1.0 if at == 0 else 0.1
        tensors = {n: floats(scale * v) for n, v in zip(NAMES, values, strict=True)}
        if at:
            base = load_file(tmp_path / "base.safetensors")
            tensors = {name: tensors[name] + base[name] for name in NAMES}
        tensors["steps"] = np.array([7], np.int64)
        save_file(tensors, tmp_path / f"{model}.safetensors")
    return tmp_path


def made(models: Path, text: str) -> dict[str, Any]:
    out = models / "out.safetensors"
    run(Job(text, [models], sheet=True, seed=3), out)
    return load_file(out)


def listed(*names: str, **knobs: object) -> str:
    return json.dumps(
        [{"model": f"{n}.safetensors", "parameters": knobs} for n in names]
    )


def test_a_gradient_is_read_off_at_the_layer(models: Path) -> None:
    base, a = (load_file(models / f"{n}.safetensors") for n in ("base", "a"))
    got = made(
        models,
        f"""
        merge_method: task_arithmetic
        base_model: base.safetensors
        models: {listed("a", weight=[0, 1, 0])}
        """,
    )
    for name, depth in zip(NAMES, DEPTHS, strict=True):
        weight = 1 - abs(2 * depth - 1)
        wanted = base[name] + weight * (a[name] - base[name])
        np.testing.assert_allclose(got[name], wanted, rtol=1e-5, atol=1e-6)
    assert got["steps"].tolist() == [7]


def test_filters_go_by_name_and_the_first_counts(models: Path) -> None:
    a, b = (load_file(models / f"{n}.safetensors") for n in ("a", "b"))
    got = made(
        models,
        """
        merge_method: slerp
        base_model: a.safetensors
        models: [{model: a.safetensors}, {model: b.safetensors}]
        parameters:
          t:
            - {filter: layers.2, value: 1.0}
            - {filter: mlp, value: 0.0}
            - {value: 1.0}
        dtype: float16
        """,
    )
    for name in NAMES:
        wanted = a if "mlp" in name and "layers.2" not in name else b
        assert got[name].dtype == np.float16
        np.testing.assert_allclose(got[name], wanted[name], rtol=1e-3, atol=1e-3)


def theirs(
    method: str, inputs: list[Reals], knobs: dict[str, Any], *, base: bool
) -> Reals:
    import torch
    from mergekit.merge_methods.api import merge_tensors

    values = merge_tensors(
        [torch.from_numpy(floats(one)) for one in inputs],
        method,
        parameters=knobs,
        base_index=0 if base else None,
    )
    return reals(values.numpy())


@pytest.mark.peer("torch", "mergekit")
@pytest.mark.parametrize(
    ("method", "own", "shared", "base"),
    [
        ("linear", {"weight": 0.5}, {"normalize": False}, False),
        ("linear", {"weight": 0.5}, {}, False),
        ("task_arithmetic", {"weight": 0.7}, {"lambda": 0.5}, True),
        ("task_arithmetic", {"weight": -0.7}, {"normalize": True}, True),
        ("ties", {"weight": 0.7, "density": 0.5}, {}, True),
        ("ties", {"weight": 0.7, "density": 0.5}, {"normalize": False}, True),
        ("breadcrumbs", {"weight": 0.4, "density": 0.5, "gamma": 0.1}, {}, True),
        ("breadcrumbs", {"weight": 0.4, "density": 0.95, "gamma": 0.1}, {}, True),
        ("breadcrumbs_ties", {"weight": 0.4, "density": 0.5}, {"lambda": 2.0}, True),
        ("dare_linear", {"weight": 0.4}, {}, True),
        ("della", {"weight": 0.4}, {}, True),
        ("multislerp", {"weight": 0.4}, {}, True),
        ("multislerp", {"weight": 0.4}, {}, False),
        ("karcher", {}, {}, False),
        ("model_stock", {}, {}, True),
        ("sce", {}, {"select_topk": 0.5}, True),
    ],
)
def test_mergekit(
    models: Path,
    method: str,
    own: dict[str, Any],
    shared: dict[str, Any],
    *,
    base: bool,
) -> None:
    names = ["a", "b", "c"]
    asked = {
        "merge_method": method,
        "models": json.loads(listed(*names, **own)),
        "parameters": shared,
    }
    text = json.dumps(asked | ({"base_model": "base.safetensors"} if base else {}))
    if method == "task_arithmetic" and own["weight"] < 0:
        with pytest.raises(ConfigError, match="negative weight"):
            made(models, text)
        return
    got = made(models, text)
    inputs = (["base"] if base else []) + names
    held = [load_file(models / f"{n}.safetensors") for n in inputs]
    knobs = shared | {k: [v] * len(names) for k, v in own.items()}
    for name in NAMES:
        values = [reals(one[name]) for one in held]
        wanted = theirs(method, values, knobs, base=base)
        np.testing.assert_allclose(got[name], wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.peer("mergekit")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "setting",
    [
        0.3,
        [0.0, 1.0],
        [0.0, 0.5, 0.25, 1.0],
        [{"filter": "mlp", "value": [0.0, 1.0]}, {"value": 0.7}],
        [{"filter": "attn", "value": 0.1}, {"filter": "*", "value": 0.2}],
        [{"filter": "attn", "value": 0.1}],
    ],
)
@pytest.mark.parametrize("depth", [0.0, 0.1, 0.5, 1.0])
def test_settings_are_mergekits(setting: Any, depth: float) -> None:
    from mergekit.config import ConditionalParameter, evaluate_setting

    given = (
        [ConditionalParameter(**one) for one in setting]
        if isinstance(setting, list) and isinstance(setting[0], dict)
        else setting
    )
    wanted = evaluate_setting("layers.1.mlp", given, depth, validate=float)
    assert resolved(setting, "layers.1.mlp", depth) == pytest.approx(wanted)


def test_knobs_fall_back_from_model_to_all_to_default() -> None:
    scopes: list[dict[str, Any]] = [{"d": [{"filter": "x", "value": 1}]}, {"d": "2e0"}]
    assert first("d", 3.0, scopes, "x.w", 0) == 1
    assert first("d", 3.0, scopes, "y.w", 0) == 2
    assert first("d", 3.0, [], "y.w", 0) == 3
    for bad in ({"d": True}, {"d": "two"}, {"d": [[1]]}, {"d": None}):
        with pytest.raises(ConfigError, match="d"):
            first("d", None if bad["d"] is None else 3.0, [bad], "w", 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "not YAML"),
        ("3", "a map"),
        ("{merge_method: tis, models: [a]}", "did you mean 'ties'"),
        ("{merge_method: linear, slices: []}", "'slices' is not read"),
        ("{merge_method: linear, models: []}", "at least one"),
        ("{merge_method: linear, models: [{path: a}]}", "knob 'path'"),
        ("{merge_method: linear, models: [{}]}", "names no model"),
        ("{merge_method: ties, models: [a]}", "needs a base_model"),
        ("{merge_method: slerp, models: [a, b]}", "needs a base_model"),
        ("{merge_method: slerp, base_model: a, models: [a, b, c]}", "2 models"),
        ("{merge_method: nuslerp, models: [a]}", "not with 1"),
        ("{merge_method: linear, models: [a], dtype: int4}", "allowed: float32"),
        (
            "{merge_method: ties, base_model: a, models: [b], parameters: {densty: 1}}",
            "density",
        ),
    ],
)
def test_what_is_not_read_is_said(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        sheets.read(text, Path())


def test_a_missing_weight_names_the_tensor(models: Path) -> None:
    with pytest.raises(ConfigError, match=r"weight is not given for embed\.weight"):
        made(models, "{merge_method: linear, models: [a.safetensors]}")
    with pytest.raises(ConfigError, match="no such file"):
        made(models, f"{{merge_method: linear, models: {listed('z', weight=1)}}}")


@pytest.mark.parametrize("sheet", [False, True])
def test_a_receipt_makes_the_same_bytes_again(models: Path, *, sheet: bool) -> None:
    out, again = models / "out.safetensors", models / "again.safetensors"
    if sheet:
        knobs = listed("a", "b", weight=1, density=[0.2, 0.6])
        text = "{merge_method: dare_ties, base_model: base.safetensors, models: %s}"
        run(Job(text % knobs, [models], sheet=True, seed=5), out)
    else:
        inputs = [models / "a.safetensors", models / "b.safetensors"]
        base = models / "base.safetensors"
        run(Job("della", inputs, base, [1, 2], seed=5), out)
    repeat(place(out), again)
    assert out.read_bytes() == again.read_bytes()
    assert json.loads(place(out).read_text()) == json.loads(place(again).read_text())
    changed = load_file(models / "b.safetensors")
    changed["norm.weight"] += 1
    save_file(changed, models / "b.safetensors")
    with pytest.raises(CheckpointError, match=r"b\.safetensors is not what"):
        repeat(place(out), again)


def test_what_is_no_receipt_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{}")
    with pytest.raises(CheckpointError, match="no receipt"):
        repeat(tmp_path / "x", tmp_path / "y")


def test_an_input_is_never_overwritten(models: Path) -> None:
    text = f"{{merge_method: linear, models: {listed('a', 'b', weight=1)}}}"
    with pytest.raises(ConfigError, match="is an input too"):
        run(Job(text, [models], sheet=True), models / "a.safetensors")


@pytest.mark.parametrize("base", ["", "base_model: base.safetensors, "])
def test_adapters_are_sent_to_a_recipe(models: Path, base: str) -> None:
    for name in ("one", "two"):
        (models / name).mkdir()
        (models / name / "adapter_config.json").write_text("{}")
    text = f"{{merge_method: ties, {base}models: [one, two]}}"
    with pytest.raises(ConfigError, match=f"--out OUT {models}/one {models}/two`"):
        sheets.read(text, models)

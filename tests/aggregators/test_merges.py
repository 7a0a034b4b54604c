"""Offline merges: every dtype, every form of checkpoint, and every way to fail."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fedelta.aggregators.merges import merge, merge_files
from fedelta.aggregators.tensors import Tensor, header, mapped, rounded
from fedelta.protocols import seeds
from fedelta.protocols.errors import BoundsError, ConfigError, PayloadError

from . import oracles

SHAPES = {"big": (300, 401), "one": (1,), "none": (0, 4), "bias": (17,)}
Model = dict[str, np.ndarray[Any, Any]]


def model(purpose: str, dtype: str = "f4", size: float = 1.0) -> Model:
    tensors: Model = {}
    for name, shape in SHAPES.items():
        key = seeds.key(purpose, name)
        values = seeds.normal(key, 0, int(np.prod(shape))).reshape(shape)
        tensors[name] = (size * values).astype(dtype)
    tensors["steps"] = np.array([len(purpose)], np.int64)
    return tensors


BASE = model("base")


def tuned(purpose: str, dtype: str = "f4") -> Model:
    change = model(purpose, size=0.1)
    out = {n: (BASE[n] + change[n]).astype(dtype) for n in SHAPES}
    return out | {"steps": np.array([99], np.int64)}


def taus(models: list[Model], name: str) -> list[oracles.Reals]:
    base = BASE[name].astype(np.float32)
    return [(one[name].astype(np.float32) - base).astype(np.float64) for one in models]


@pytest.mark.parametrize(
    "weights", [None, [1, 2, 5], [0.3, 0.7, 0.1], [0.12345678, 1e-3, 3]]
)
def test_every_recipe_means_what_its_paper_says(weights: list[float] | None) -> None:
    models = [tuned("a"), tuned("bb"), tuned("ccc")]
    given = weights or [1.0, 1.0, 1.0]
    means: dict[str, Callable[[list[oracles.Reals]], oracles.Reals]] = {
        "fedavg": lambda t: oracles.fedavg(t, given),
        "task_arithmetic(gain=0.4)": lambda t: oracles.task_arithmetic(t, given, 0.4),
        "ties(density=0.3, gain=1.5)": lambda t: oracles.ties(t, given, 0.3, 1.5),
    }
    for text, oracle in means.items():
        merged = merge(models, text, base=BASE, weights=weights)
        for name in ("one", "none", "bias"):
            wanted = BASE[name] + oracle(taus(models, name))
            np.testing.assert_allclose(merged[name], wanted, rtol=1e-6, atol=1e-7)
        assert merged["steps"].tolist() == [len("base")]
        assert list(merged) == list(BASE)


@pytest.mark.parametrize(("dtype", "step"), [("f8", 1e-6), ("f4", 1e-6), ("f2", 1e-3)])
def test_the_base_keeps_its_dtype(dtype: str, step: float) -> None:
    base = {n: v.astype(dtype) if v.dtype.kind == "f" else v for n, v in BASE.items()}
    models = [tuned("a", dtype), tuned("bb", dtype)]
    merged = merge(models, "fedavg", base=base)
    for name in SHAPES:
        assert merged[name].dtype == np.dtype(dtype)
        wanted = (models[0][name].astype(float) + models[1][name]) / 2
        np.testing.assert_allclose(
            merged[name].astype(float), wanted, rtol=step, atol=step
        )


def test_one_model_comes_back_as_it_was() -> None:
    alone = tuned("a")
    for text in ("fedavg", "task_arithmetic", "ties(density=1.0)"):
        merged = merge([alone], text, base=BASE)
        np.testing.assert_allclose(merged["big"], alone["big"], rtol=1e-6, atol=1e-6)
    assert np.array_equal(merge([alone], "fedavg")["big"], alone["big"])


def test_negation_and_analogy() -> None:
    a, b = tuned("a"), tuned("bb")
    merged = merge([a, b], "task_arithmetic", base=BASE, weights=[1, -1])
    np.testing.assert_allclose(
        merged["big"], BASE["big"] + a["big"] - b["big"], atol=1e-6
    )


def test_tied_weights_stay_tied() -> None:
    def with_tie(tensors: Model) -> Model:
        return tensors | {"head": tensors["big"]}

    models = [with_tie(tuned("a")), with_tie(tuned("bb"))]
    for text in ("fedavg", "dare(density=0.5)"):
        merged = merge(models, text, base=with_tie(dict(BASE)))
        assert merged["head"] is merged["big"]


def test_dare_depends_on_its_seed_alone() -> None:
    models = [tuned("a"), tuned("bb")]
    first = merge(models, "dare(density=0.5)", base=BASE, seed=1)
    assert np.array_equal(
        first["big"], merge(models, "dare(density=0.5)", base=BASE, seed=1)["big"]
    )
    other = merge(models, "dare(density=0.5)", base=BASE, seed=2)["big"]
    assert not np.array_equal(first["big"], other)


@pytest.mark.parametrize(
    ("text", "weights", "told"),
    [
        ("fedavg", [1, -1], "negative weight"),
        ("ties", [2, -1], "negative weight"),
        ("fedavg", [0, 0], "all zero"),
        ("task_arithmetic", [0.0, 0.0], "all zero"),
        ("fedavg", [1], "1 weights for 2 models"),
        ("fedavg", [1, float("nan")], "finite"),
        ("ties(density=0)", None, "density"),
        ("ties(density=1.01)", None, "density"),
        ("grouped(fedavg, ties)", None, "region"),
        ("nonsense", None, "unknown name"),
    ],
)
def test_what_is_asked_for_wrongly(
    text: str, weights: list[float] | None, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        merge([tuned("a"), tuned("bb")], text, base=BASE, weights=weights)


def test_only_a_mean_does_without_a_base() -> None:
    with pytest.raises(ConfigError, match="--base"):
        merge([tuned("a"), tuned("bb")], "ties")
    with pytest.raises(ConfigError, match="at least one"):
        merge([], "fedavg")


def bf16(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return rounded("w", values.astype(np.float64), "BF16")


def save(path: Path, tensors: Model, kinds: dict[str, str] | None = None) -> Path:
    """A safetensors file; `kinds` names those whose uint16 bits are bfloat16."""
    if not kinds:
        save_file(tensors, path, metadata={"format": "pt"})
        return path
    names = {np.dtype("f4"): "F32", np.dtype("i8"): "I64"}
    entries = {
        n: (kinds[n] if n in kinds else names[v.dtype], v.shape)
        for n, v in tensors.items()
    }
    body = b"".join(value.tobytes() for value in tensors.values())
    path.write_bytes(header(entries, {"format": "pt"}) + body)
    return path


def test_files_merge_as_state_dicts_do(tmp_path: Path) -> None:
    models = [tuned("a"), tuned("bb")]
    files = [save(tmp_path / f"{i}.safetensors", m) for i, m in enumerate(models)]
    base = save(tmp_path / "base.safetensors", dict(BASE))
    out = tmp_path / "new" / "out.safetensors"
    for text in ("fedavg", "ties", "dare(density=0.5)", "task_arithmetic(0.3)"):
        merge_files(files, base, out, text, [0.3, 0.7])
        wanted = merge(models, text, base=BASE, weights=[0.3, 0.7])
        got = load_file(out)
        assert got.keys() == wanted.keys()
        assert all(np.array_equal(got[name], wanted[name]) for name in got)
    assert [one.name for one in out.parent.iterdir()] == ["out.safetensors"]
    assert mapped(out)[1] == {"format": "pt"}


def test_bfloat16_is_rounded_to_nearest_even(tmp_path: Path) -> None:
    kinds = {"w": "BF16"}
    values = [seeds.normal(i, 0, 1000).astype(np.float32) for i in range(2)]
    files = [
        save(tmp_path / f"{i}.safetensors", {"w": bf16(v)}, kinds)
        for i, v in enumerate(values)
    ]
    merge_files(files, None, tmp_path / "out.safetensors", "fedavg")
    found = mapped(tmp_path / "out.safetensors")[0]["w"]
    assert found.kind == "BF16"
    exact = [Tensor("BF16", bf16(v), "").part(0, 1000).astype(float) for v in values]
    mean = (exact[0] + exact[1]) / 2
    assert np.array_equal(found.raw, bf16(mean.astype(np.float32)))
    assert (np.abs(found.part(0, 1000) - mean) <= 2.0**-8 * np.abs(mean)).all()


def folder(path: Path, tensors: Model, shards: int = 1) -> Path:
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "bert"}')
    (path / "tokenizer.json").write_text("{}")
    (path / "pytorch_model.bin").write_bytes(b"old")
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text("{}")
    if shards == 1:
        save(path / "model.safetensors", tensors)
        return path
    places: dict[str, str] = {}
    for place in range(shards):
        name = f"model-{place + 1:05d}-of-{shards:05d}.safetensors"
        part = {n: tensors[n] for n in sorted(tensors)[place::shards]}
        save(path / name, part)
        places |= dict.fromkeys(part, name)
    index = json.dumps({"metadata": {}, "weight_map": places})
    (path / "model.safetensors.index.json").write_text(index)
    return path


@pytest.mark.parametrize("shards", [1, 3])
def test_folders_come_out_like_the_base(tmp_path: Path, shards: int) -> None:
    base = folder(tmp_path / "base", dict(BASE), shards)
    models = [
        folder(tmp_path / "a", tuned("a")),
        folder(tmp_path / "b", tuned("bb"), 2),
    ]
    out = tmp_path / "out"
    for _ in range(2):  # the second time in the place of the first
        merge_files(models, base, out, "ties")
    left = {one.relative_to(base) for one in base.rglob("*") if one.suffix != ".bin"}
    assert {one.relative_to(out) for one in out.rglob("*")} == left
    got: Model = {}
    for file in out.glob("*.safetensors"):
        got |= load_file(file)
    wanted = merge([tuned("a"), tuned("bb")], "ties", base=BASE)
    assert all(np.array_equal(got[name], wanted[name]) for name in wanted)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "b", "base", "out"]


def spoil(tmp_path: Path, how: str) -> tuple[Path, str]:
    """A model file with one thing wrong, and what must be said of it."""
    tensors = tuned("a")
    path = tmp_path / "bad.safetensors"
    if how == "shape":
        tensors["bias"] = tensors["bias"][:-1].copy()
    elif how == "missing":
        del tensors["bias"]
    elif how == "extra":
        tensors["more"] = tensors["bias"]
    elif how == "dtype":
        tensors["bias"] = tensors["bias"].astype(np.int32)
    elif how == "nan":
        tensors["bias"][3] = np.nan
    save(path, tensors)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    elif how == "head":
        path.write_bytes(path.read_bytes()[:100])
    elif how == "junk":
        path.write_bytes(b"PK\3\4" + b"x" * 100)
    elif how == "nothing":
        path.write_bytes(b"")
    named = {"extra": "more", "cut": "", "head": "", "junk": "", "nothing": ""}
    return path, named.get(how, "bias")


@pytest.mark.parametrize(
    "how",
    ["shape", "missing", "extra", "dtype", "nan", "cut", "head", "junk", "nothing"],
)
def test_a_bad_model_is_named_and_the_old_output_survives(
    tmp_path: Path, how: str
) -> None:
    base = save(tmp_path / "base.safetensors", dict(BASE))
    good = save(tmp_path / "good.safetensors", tuned("bb"))
    bad, tensor = spoil(tmp_path, how)
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    error = BoundsError if how == "nan" else PayloadError
    with pytest.raises(error) as caught:
        merge_files([good, bad], base, out, "fedavg")
    assert "bad.safetensors" in str(caught.value)
    assert tensor in str(caught.value)
    assert out.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == before


def test_a_failure_while_writing_leaves_the_old_output(tmp_path: Path) -> None:
    small = {"w": np.full(3, 6e4, np.float16)}
    files = [save(tmp_path / f"{i}.safetensors", small) for i in range(2)]
    base = save(tmp_path / "base.safetensors", {"w": np.zeros(3, np.float16)})
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(BoundsError, match="w: the merged values do not fit F16"):
        merge_files(files, base, out, "task_arithmetic")
    assert out.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == before


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    good = save(tmp_path / "good.safetensors", tuned("a"))
    out = tmp_path / "out.safetensors"
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "diary.txt").write_text("dear")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    base = folder(tmp_path / "base", dict(BASE))
    for models, target, told in (
        ([tmp_path / "nowhere"], out, "no such file"),
        ([notes], out, "no .safetensors"),
        ([adapter], out, "adapter"),
        ([good], good, "input too"),
        ([good], notes, "to be a file"),
        ([base], notes, "holds no model"),
        ([base], good, "to be a folder"),
    ):
        with pytest.raises(ConfigError, match=told):
            merge_files(models, None, target, "fedavg")
    assert (notes / "diary.txt").read_text() == "dear"

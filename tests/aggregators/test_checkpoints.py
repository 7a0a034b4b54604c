"""Offline merges on disk: every form of checkpoint, and every way to fail."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedelta.aggregators.merges import merge, merge_files
from fedelta.aggregators.tensors import Tensor, mapped
from fedelta.protocols import seeds
from fedelta.protocols.errors import BoundsError, ConfigError, PayloadError

from .models import BASE, Model, bf16, folder, save, tuned


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

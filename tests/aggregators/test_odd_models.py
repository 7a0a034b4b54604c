"""Models that merges meet and papers leave out: what works, and what is refused."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedelta.aggregators.base import Key, Member
from fedelta.aggregators.merges import merge, merge_files
from fedelta.aggregators.recipes import METHODS, recipe
from fedelta.aggregators.reductions import reduce
from fedelta.aggregators.tensors import header
from fedelta.protocols import seeds
from fedelta.protocols.errors import BoundsError, ConfigError, PayloadError
from fedelta.protocols.vectors import TaskVector

from .models import BASE, Model, save, tuned

TEXTS = ["fedavg", "ties(0.2)", "dare(0.5)", "task_arithmetic(0.5)"]


@pytest.mark.parametrize("text", TEXTS)
def test_buffers_of_no_reals_are_the_bases(text: str, tmp_path: Path) -> None:
    kinds: Model = {
        "mask": np.array([[True, False]]),
        "bytes": np.arange(3, dtype=np.uint8),
        "small": np.array(-5, np.int8),
        "steps": np.array([7], np.int64),
    }
    weights = seeds.normal(1, 0, 50).astype(np.float32)
    base = {"w": weights, **kinds}
    other = {n: np.ones_like(v) for n, v in kinds.items()}
    models = [{"w": weights + k, **other} for k in (1, 3)]
    for merged in (
        merge(models, text, base=base),
        _through(models, base, text, tmp_path),
    ):
        for name, value in kinds.items():
            assert merged[name].dtype == value.dtype
            assert np.array_equal(merged[name], value)
        assert merged["w"].dtype == np.float32


def _through(models: list[Model], base: Model, text: str, folder: Path) -> Model:
    files = [save(folder / f"{k}.safetensors", m) for k, m in enumerate(models)]
    origin = save(folder / "base.safetensors", base)
    merge_files(files, origin, folder / "out.safetensors", text)
    return load_file(folder / "out.safetensors")


@pytest.mark.parametrize("text", TEXTS)
def test_nothing_changed_changes_nothing(text: str) -> None:
    merged = merge([dict(BASE)] * 3, text, base=BASE)
    for name, value in BASE.items():
        assert merged[name].tobytes() == (value + value.dtype.type(0)).tobytes()


def test_no_models_no_merge(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        merge_files([], None, tmp_path / "out.safetensors", "fedavg")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2"])
def test_bytes_of_float8_are_merged(tmp_path: Path, kind: str) -> None:
    codes = np.arange(0, 0x70, dtype=np.uint8)
    body = header({"w": (kind, (codes.size,))}, {}) + codes.tobytes()
    files = [tmp_path / f"{k}.safetensors" for k in range(2)]
    for file in files:
        file.write_bytes(body)
    merge_files(files, None, tmp_path / "out.safetensors", "fedavg")
    assert (tmp_path / "out.safetensors").read_bytes() == body


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.safetensors", tuned("a")).read_bytes()
    cut = tmp_path / "cut.safetensors"
    for size in [0, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1]:
        cut.write_bytes(whole[:size])
        with pytest.raises(PayloadError, match=r"cut\.safetensors"):
            merge_files([cut], None, tmp_path / "out.safetensors", "fedavg")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow above 64 KiB: the write fails in the middle."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _inputs(folder: Path) -> tuple[list[Path], Path]:
    files = [save(folder / f"{k}.safetensors", tuned(f"m{k}")) for k in range(2)]
    return files, save(folder / "base.safetensors", dict(BASE))


def test_a_write_that_fails_leaves_the_old_output(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    files, base = _inputs(tmp_path)
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    request.getfixturevalue("small_files")
    with pytest.raises(OSError, match="too large"):
        merge_files(files, base, out, "ties")
    assert out.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.needs_root
def test_a_full_disk_leaves_the_old_output(tmp_path: Path) -> None:
    files, base = _inputs(tmp_path)
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)],
        check=False,
    )
    if made.returncode:
        pytest.skip("no mounts here")
    try:
        out = disk / "out.safetensors"
        out.write_bytes(b"old")
        with pytest.raises(OSError, match="No space left"):
            merge_files(files, base, out, "fedavg")
        assert out.read_bytes() == b"old"
        assert list(disk.iterdir()) == [out]
    finally:
        subprocess.run(["/bin/umount", str(disk)], check=True)


WATCH = """
import sys, threading, time
from pathlib import Path
import numpy as np
from fedelta.aggregators.merges import merge, merge_files

def held():
    text = open("/proc/self/status").read()
    return int(text.split("RssAnon:")[1].split()[0])

def watch():
    while True:
        top[0] = max(top[0], held())
        time.sleep(0.002)

folder = Path(sys.argv[1])
small = np.ones(1000, np.float32)
merge([dict(w=small)] * 2, "ties", base=dict(w=0 * small))  # compiled, loaded
top, before = [0], held()
threading.Thread(target=watch, daemon=True).start()
files = [folder / f"{name}.safetensors" for name in "ab"]
merge_files(files, files[1], folder / "out.safetensors", "ties")
print(top[0] - before)
"""


def test_a_tensor_need_not_fit_into_memory(tmp_path: Path) -> None:
    """Files of 128 MiB, merged in a quarter of one."""
    size = 1 << 25
    head = header({"w": ("F32", (size // 1024, 1024))}, {})
    for name, value in (("a", 2.0), ("b", 1.0)):
        with (tmp_path / f"{name}.safetensors").open("wb") as file:
            file.write(head)
            file.truncate(len(head) + 4 * size)
            file.seek(len(head) + 4 * 12345)
            file.write(np.float32(value).tobytes())
    told = subprocess.run(
        [sys.executable, "-c", WATCH, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(told.stdout) < 32 << 10  # KiB
    merged = load_file(tmp_path / "out.safetensors")["w"].reshape(-1)
    assert merged[12345] == 2.0
    assert np.count_nonzero(merged) == 1


@pytest.mark.parametrize("text", sorted(METHODS.keys() - {"fisher", "regmean"}))
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_whether_it_would_stay_or_not(
    text: str, bad: float
) -> None:
    values = seeds.normal(9, 0, 8000).astype(np.float32).reshape(8, 20, 50)
    values[0, 3, 17] = bad
    count = 2 if text in ("slerp", "nuslerp") else 8
    members = [
        Member(f"m{place}", TaskVector.of({"w": value}), 1, f"g{place % 2}")
        for place, value in enumerate(values[:count])
    ]
    if text == "grouped":
        text = "grouped(inner=fedavg, outer=breadcrumbs, by='region')"
    with pytest.raises(BoundsError, match="not finite"):
        reduce(recipe(text), members, Key())

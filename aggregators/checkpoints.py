"""Models on disk: one .safetensors file, or a Hugging Face folder of them."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..protocols.disks import sync
from ..protocols.errors import ConfigError, PayloadError
from .tensors import Array, Tensor, header, mapped

INDEX = "model.safetensors.index.json"
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".gguf")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model on disk, its tensors memory-mapped.

    Attributes:
        path: the file or folder.
        tensors: by name.
        files: by file name, its tensors' names in their order in the file.
        metadata: by file name, the file's own texts.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    files: Mapping[str, tuple[str, ...]]
    metadata: Mapping[str, Mapping[str, str]]


def opened(path: Path) -> Checkpoint:
    """Open a model.

    Raises:
        ConfigError: there is no such file, or no safetensors in the folder.
        PayloadError: a damaged file.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder")
    tensors: dict[str, Tensor] = {}
    files: dict[str, tuple[str, ...]] = {}
    metadata: dict[str, Mapping[str, str]] = {}
    for file in _parts(path):
        found, texts = mapped(file)
        twice = sorted(found.keys() & tensors.keys())
        if twice:
            raise PayloadError(f"{file}: also in another shard", tensor=twice[0])
        tensors |= found
        order = sorted(found, key=lambda name: _place(found[name]))
        files[file.name], metadata[file.name] = tuple(order), texts
    return Checkpoint(path, tensors, files, metadata)


def _place(tensor: Tensor) -> int:
    return int(tensor.raw.__array_interface__["data"][0])


def _parts(path: Path) -> list[Path]:
    """The files that hold a model's tensors."""
    if not path.is_dir():
        return [path]
    if (path / "adapter_config.json").exists():
        raise ConfigError(
            f"{path} is an adapter: merge adapters with adapters and without a base, "
            "or fold it into its base first"
        )
    if (path / INDEX).exists():
        return _sharded(path)
    if (path / "model.safetensors").exists():
        return [path / "model.safetensors"]
    found = sorted(path.glob("*.safetensors"))
    if not found:
        raise ConfigError(f"{path}: no .safetensors file in this folder")
    return found


def _sharded(path: Path) -> list[Path]:
    try:
        places = json.loads((path / INDEX).read_text())["weight_map"].values()
        names = sorted({str(place) for place in places})
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise PayloadError(f"{path / INDEX}: does not read: {error!r}") from None
    for name in names:
        if Path(name).name != name or not (path / name).is_file():
            raise PayloadError(
                f"{path / INDEX}: names a shard {name!r} that is not there"
            )
    return [path / name for name in names]


def write(
    template: Checkpoint,
    out: Path,
    value: Callable[[str], Array | Iterator[Array]],
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write a model of a template's form, tensor by tensor, whole or not at all.

    Args:
        template: whose names, dtypes, files and other content are taken.
        out: the file or folder; one that is there is replaced at the very end.
        value: a tensor by name, in the template's dtype and shape; or run by run.
        texts: files of a folder to write instead of copying them, by name.
    """
    _replaceable(template, out)
    if not template.path.is_dir():
        with _replacing(out) as made:
            _write_file(template, template.path.name, made, value)
        return
    with _replacing(out) as made:
        made.mkdir()
        for one in sorted(template.path.iterdir()):
            if one.is_dir():
                shutil.copytree(one, made / one.name)
            elif one.suffix not in _WEIGHTS:
                shutil.copyfile(one, made / one.name)
        for name in template.files:
            _write_file(template, name, made / name, value)
        for name, text in (texts or {}).items():
            (made / name).write_text(text)


def _replaceable(template: Checkpoint, out: Path) -> None:
    """Refuse to put a model in the place of what is none.

    Raises:
        ConfigError: a folder where a file is to be, or the other way round, or a
            folder that holds no model.
    """
    if not out.exists():
        return
    if out.is_dir() != template.path.is_dir():
        kind = "folder" if template.path.is_dir() else "file"
        raise ConfigError(f"{out}: the output is to be a {kind}; choose another path")
    if out.is_dir() and any(out.iterdir()) and not any(out.glob("*.safetensors")):
        raise ConfigError(f"{out}: holds no model; choose another path")


def _write_file(
    template: Checkpoint,
    name: str,
    out: Path,
    value: Callable[[str], Array | Iterator[Array]],
) -> None:
    names = template.files[name]
    held = template.tensors
    entries = {n: (held[n].kind, held[n].raw.shape) for n in names}
    with out.open("wb") as file:
        file.write(header(entries, template.metadata[name]))
        for one in names:
            made = value(one)
            for part in [made] if isinstance(made, np.ndarray) else made:
                file.write(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """A path beside `out` that takes its place if all goes well."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield aside / "new"
        if out.is_dir() and not out.is_symlink():
            out.rename(aside / "old")
            try:
                (aside / "new").rename(out)
            except OSError:
                (aside / "old").rename(out)
                raise
        else:
            (aside / "new").replace(out)
        sync(out.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)

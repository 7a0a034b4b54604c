"""What a merge was made of, written beside it, and the merge made again from that.

The receipt names the recipe (or mergekit's sheet), the inputs with the SHA-256 of each
of their files, the seed and the versions; `repeat` checks the inputs and merges to the
same bytes.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..protocols.errors import CheckpointError, ConfigError
from . import adapters, checkpoints, sheets
from .merges import merge_files

NAME = "fedelta-merge.json"
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Job:
    """A merge of files.

    Attributes:
        recipe: a recipe's text, or a sheet's YAML.
        models: files or folders; with a sheet, what its paths start from.
        base: what the models were tuned from, if it is said.
        weights: one a model.
        seed: of a recipe that draws.
        sheet: whether the recipe is a sheet.
        rank: of what adapters are merged into; 0: as `merge_adapters` chooses.
    """

    recipe: str
    models: Sequence[Path] = ()
    base: Path | None = None
    weights: Sequence[float] | None = None
    seed: int = 0
    sheet: bool = False
    rank: int = 0

    def inputs(self) -> list[Path]:
        """Every model that is read, the base last."""
        if not self.sheet:
            return [*self.models, *([self.base] if self.base else [])]
        read = sheets.read(self.recipe, self.models[0])
        return [*[path for path, _ in read.models], *([read.base] if read.base else [])]


def place(out: Path) -> Path:
    """Where a result's receipt lies: in its folder, or beside its file."""
    return out / NAME if out.is_dir() else out.with_name(f"{out.name}.{NAME}")


def text(sheet: Path) -> str:
    """A sheet's text.

    Raises:
        ConfigError: a file that cannot be read.
    """
    try:
        return sheet.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{sheet}: {error}") from None


def run(job: Job, out: Path) -> float:
    """Merge, and write the receipt.

    Returns:
        Of adapters the relative error of bringing them down to a rank; else 0.

    Raises:
        ConfigError, PayloadError, BoundsError: as `fedelta.aggregators.merges` says.
    """
    error, many = 0.0, not job.sheet and adapters.of(job.models, job.base)
    if job.rank and not many:
        raise ConfigError("a rank is for adapters: folders with adapter_config.json")
    if many:
        given, seed = (job.models, out, job.recipe, job.weights), job.seed
        error = adapters.merge_adapters(*given, rank=job.rank, seed=seed)
    elif not job.sheet:
        base, models = job.base, list(job.models)
        merge_files(models, base, out, job.recipe, job.weights, seed=job.seed)
    else:
        if any(path.absolute() == out.absolute() for path in job.inputs()):
            raise ConfigError(f"{out} is an input too: choose another output")
        opened = sheets.opened(sheets.read(job.recipe, job.models[0]), job.seed)
        checkpoints.write(opened.template, out, opened.values())
    aside = place(out).with_name(f".{NAME}.new")
    aside.write_text(json.dumps(_written(job), indent=2) + "\n")
    aside.replace(place(out))
    return error


def repeat(receipt: Path, out: Path) -> None:
    """Merge again what a receipt says, to the same bytes.

    Raises:
        CheckpointError: no receipt, an input that is not what it was, or another
            version of fedelta or NumPy; the message names it.
    """
    try:
        given = json.loads(receipt.read_text())
        job = Job(
            given["recipe"],
            [Path(path) for path in given["models"]],
            None if given["base"] is None else Path(given["base"]),
            given["weights"],
            given["seed"],
            given["sheet"],
            given.get("rank", 0),
        )
        made_of, versions = given["inputs"], given["versions"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{receipt}: no receipt of a merge: {error!r}") from None
    if versions != _versions():
        raise CheckpointError(f"{receipt}: made by {versions}, here is {_versions()}")
    now = _digests(job)
    for name in sorted(made_of.keys() | now.keys()):
        if made_of.get(name) != now.get(name):
            raise CheckpointError(f"{name} is not what was merged then")
    run(job, out)


def _written(job: Job) -> dict[str, Any]:
    return {
        "recipe": job.recipe,
        "sheet": job.sheet,
        "models": [str(path.absolute()) for path in job.models],
        "base": None if job.base is None else str(job.base.absolute()),
        "weights": None if job.weights is None else list(job.weights),
        "seed": job.seed,
        "rank": job.rank,
        "versions": _versions(),
        "inputs": _digests(job),
    }


def _versions() -> dict[str, str]:
    return {"fedelta": importlib.metadata.version("fedelta"), "numpy": np.__version__}


def _digests(job: Job) -> dict[str, str]:
    """By path, the SHA-256 of every file that holds tensors."""
    found: dict[str, str] = {}
    for path in job.inputs():
        inside = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
        for file in inside:
            found[str(file.absolute())] = _digest(file)
    return found


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as opened:
            while part := opened.read(_BLOCK):
                digest.update(part)
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror}") from None
    return digest.hexdigest()

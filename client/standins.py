"""What a server needs of a base model, without torch in its own process.

The model is read once by a process of its own, which writes down what follows from it
(its digest, its layers' shapes, the weights that updates touch) and ends.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from ..protocols.errors import ConfigError
from ..protocols.settings import Config
from ..protocols.vectors import Floats
from .masters import Masters
from .trunks import Trunk

_SAID, _WEIGHTS, _WRONG = "base.json", "weights.safetensors", "error.txt"


def standin(config: Config, labels: Sequence[str]) -> Trunk:
    """The trunk of a run's base model; the model is read by another process.

    Args:
        config: the run's.
        labels: the classes' names.

    Raises:
        ConfigError: the model cannot be read, or has no layer that fits the targets.
    """
    with tempfile.TemporaryDirectory(dir=_roomy()) as there:
        folder = Path(there)
        asked = {"config": asdict(config), "labels": list(labels), "out": there}
        done = subprocess.run(
            [sys.executable, "-m", "fedelta.client.standins"],
            input=json.dumps(asked),
            text=True,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if (folder / _WRONG).exists():
            raise ConfigError((folder / _WRONG).read_text("utf-8"))
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
            raise ConfigError(
                f"model.id = {config.model.id!r}: the process that was to read it "
                f"ended with {said[-1]}"
            )
        return read(folder, config)


def read(folder: Path, config: Config) -> Trunk:
    """A trunk from what `write` wrote down of its base."""
    said: dict[str, Any] = json.loads((folder / _SAID).read_text("utf-8"))
    targets = {name: (wide, deep) for name, (wide, deep) in said["targets"].items()}
    dense = {name: tuple(shape) for name, shape in said["dense"].items()}
    layers = frozenset(said["layers"])
    trunk = Trunk(said["digest"], config, targets, dense, layers)
    trunk.heads, trunk.own_heads = tuple(said["heads"]), tuple(said["own_heads"])
    held: dict[str, Floats] = {}
    with safe_open(folder / _WEIGHTS, "numpy") as file:
        for name in file.keys():  # noqa: SIM118
            held[name] = np.array(file.get_tensor(name), np.float32)
    trunk.hold(Masters(held, config.model.cache))
    return trunk


def _roomy() -> str | None:
    """A folder on disk: the usual one for what soon goes may be memory."""
    place = "/var/tmp"  # noqa: S108  a folder of its own is made in it
    return place if os.access(place, os.W_OK) else None


def write(config: Config, labels: Sequence[str], folder: Path) -> None:
    """Read a model and write down what `standin` reads.

    Raises:
        ConfigError: it cannot be read.
    """
    from safetensors.numpy import save_file

    from . import statistics
    from .models import load_base

    base = load_base(config, labels)
    said = {
        "digest": base.digest,
        "targets": {name: list(one) for name, one in base.starts.targets.items()},
        "dense": {name: list(one.shape) for name, one in base.dense.items()},
        "layers": sorted(statistics.linear(base.network.body)),
        "heads": list(base.heads),
        "own_heads": list(base.own_heads),
    }
    save_file(base.weights(), folder / _WEIGHTS)
    (folder / _SAID).write_text(json.dumps(said), "utf-8")


def main() -> None:
    """Read what is asked on standard input."""
    from .sessions import settings

    asked = json.load(sys.stdin)
    folder = Path(asked["out"])
    try:
        write(settings(json.dumps(asked["config"])), asked["labels"], folder)
    except ConfigError as error:
        (folder / _WRONG).write_text(str(error), "utf-8")
        sys.exit(1)


if __name__ == "__main__":
    main()

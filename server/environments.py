"""The process's surroundings: what is switched off, and what a summary tells."""

import logging
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PARTS = (
    "fedelta",
    "flwr",
    "numba",
    "numpy",
    "peft",
    "safetensors",
    "torch",
    "transformers",
    "zstandard",
)

_LEFT = ("OMP_WAIT_POLICY", "TQDM_DISABLE")


def quiet_environment() -> dict[str, str]:
    """Variables for us and our workers: one thread, no bars, nobody phones home."""
    return {
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "NUMEXPR_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
    }


def prepare() -> None:
    """Switch off what phones home and quieten Flower; call before flwr is imported.

    Threads, and others' progress bars (``TQDM_DISABLE``), stay as they are where they
    are set.
    """
    for name, value in quiet_environment().items():
        if name.endswith("_NUM_THREADS") or name in _LEFT:
            os.environ.setdefault(name, value)
        else:
            os.environ[name] = value
    logging.getLogger("flwr").setLevel(logging.ERROR)


def describe() -> dict[str, Any]:
    """Python, versions and cores: no host, no user, no path.

    Example:
        >>> sorted(describe())
        ['cores', 'machine', 'python', 'system', 'versions']
    """
    return {
        "python": platform.python_version(),
        "system": sys.platform,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": {part: found for part in _PARTS if (found := _version(part))},
    }


def _version(part: str) -> str:
    try:
        return version(part)
    except PackageNotFoundError:
        return ""

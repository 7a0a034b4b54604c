"""What a process holds before it holds a model: measured in one of its own.

``python -m fedelta.server.evidence.floors`` reads a configuration as JSON, loads what
a client's process loads beside its weights, and prints what that came to.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ...protocols.errors import ConfigError
from ...protocols.settings import Config
from ..environments import quiet_environment
from ..runs import config_from_json, config_json

_SECONDS = 300.0
_SIDE = 384


def resident() -> int:
    """Bytes that this process held at most so far.

    Raises:
        ConfigError: the system does not say.
    """
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most << 10
    for line in text.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise ConfigError("the system does not say how much memory a process holds")


def measured(config: Config) -> tuple[int, float]:
    """Bytes of a process without a model, and its 10^9 operations a second.

    Raises:
        ConfigError: the process did not come so far.
    """
    import os

    done = subprocess.run(
        [sys.executable, "-m", "fedelta.server.evidence.floors"],
        input=config_json(config),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        env=os.environ | quiet_environment(),
    )
    words = done.stdout.split()[-2:]
    if done.returncode or len(words) < 2:  # noqa: PLR2004
        raise ConfigError(f"a client's process could not start: {done.stderr[-300:]}")
    return int(words[0]), float(words[1])


def speed() -> float:
    """10^9 operations a second of one thread, as training reaches them.

    Products of matrices of a model's size, forth and back.
    """
    import torch

    torch.set_num_threads(1)
    left = torch.ones((_SIDE, _SIDE), requires_grad=True)
    right = torch.ones((_SIDE, _SIDE))
    best = float("inf")
    for _ in range(6):
        began = time.perf_counter()
        torch.autograd.backward((left @ right).sum())
        best = min(best, time.perf_counter() - began)
    return 4 * _SIDE**3 / best / 1e9


def main() -> None:
    """Load what a client's process loads, and print what it came to."""
    config = config_from_json(sys.stdin.read())
    import peft  # noqa: F401
    import transformers

    from ...client import app  # noqa: F401
    from ...client.data import load
    from ...client.loading import place, quiet

    family: Any = transformers.AutoModel
    load(config)
    where = place(config.model)
    with quiet():
        transformers.AutoTokenizer.from_pretrained(where)("warm")
        described = transformers.AutoConfig.from_pretrained(where)
        import torch

        with torch.device("meta"):
            family.from_config(described)
    fast = speed()
    sys.stdout.write(f"{resident()} {fast:.3f}\n")


if __name__ == "__main__":
    main()

"""What stands beside the package, run as people run it: from the checkout's root."""

import subprocess
import sys
from pathlib import Path

import fedelta

ROOT = Path(fedelta.__file__).parent


def told(*words: str, limit: float = 400) -> str:
    """Run Python with these words; what it printed.

    Args:
        words: a script's path and what follows it.
        limit: seconds.
    """
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

"""The benchmarks in the reduced forms that CI runs."""

import subprocess
import sys
from pathlib import Path

import pytest

import fedelta

ROOT = Path(fedelta.__file__).parent


def run(*words: str) -> str:
    """A benchmark by the command line; what it printed."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_language_models_replays_stand_side_by_side() -> None:
    told = run("benchmarks/check_b.py", "--tiny", "--workers", "0")
    assert "fedavg in factors" in told
    assert "dare(density=0.5) in product" in told
    assert "all holds" in told


@pytest.mark.slow
def test_fifty_trivial_clients_cost_next_to_nothing() -> None:
    code = (
        "from fedelta.benchmarks.simulation import in_process; "
        "print(min(in_process(0) for _ in range(3)))"
    )
    took = float(run("-c", code).splitlines()[-1])
    assert took < 1.0, "three rounds of 50 clients, beyond imports"

"""Epsilon beside closed forms and published numbers; what a crash does to a ledger."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedelta.client.accountants import Event, epsilon, most, multiplier
from fedelta.client.ledgers import Charge, Ledger
from fedelta.protocols.errors import BudgetError, CheckpointError

pytestmark = pytest.mark.peer("dp_accounting")


def phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def gaussian(sigma: float, delta: float) -> float:
    """Epsilon of one Gaussian release: Balle & Wang 2018, theorem 8, by bisection."""
    low, high = 0.0, 200.0
    for _ in range(200):
        e = 0.5 * (low + high)
        left = phi(0.5 / sigma - e * sigma)
        found = left - math.exp(e) * phi(-0.5 / sigma - e * sigma)
        low, high = (e, high) if found > delta else (low, e)
    return high


@pytest.mark.parametrize(
    ("sigma", "times", "delta"),
    [(1.0, 1, 1e-5), (2.0, 10, 1e-5), (8.0, 100, 1e-6), (20.0, 30, 1e-9)],
)
def test_without_sampling_epsilon_is_the_closed_form(
    sigma: float, times: int, delta: float
) -> None:
    closed = gaussian(sigma / math.sqrt(times), delta)
    found = epsilon([Event(sigma, 1.0, times)], delta)
    assert closed - 1e-9 <= found <= closed + 1e-3


def test_with_sampling_epsilon_is_under_the_published_moments() -> None:
    # Abadi et al. 2016 (arXiv:1607.00133), section 3.1: q = 0.01, sigma = 4, delta =
    # 1e-5, T = 10,000: 1.26 by the moments accountant, and 9.34 by strong composition.
    found = epsilon([Event(4.0, 0.01, 10_000)], 1e-5)
    assert 0.85 < found <= 1.26
    # TensorFlow Privacy's tutorial on MNIST: 60,000 examples, batches of 256, noise
    # 1.3, 15 epochs (3515 steps), delta 1e-5: 1.19 by the Renyi accountant of its time.
    found = epsilon([Event(1.3, 256 / 60_000, 3515)], 1e-5)
    assert 0.8 < found <= 1.19


PUBLISHED = [
    # Koskela, Jalko, Honkela 2020 (arXiv:1906.03049), the example of their Fourier
    # accountant: delta is 4.243484e-6 at epsilon 1 after 10^4 steps.
    (4.0, 0.01, 10_000, 4.243484e-6, 1.0, 1e-3),
    # TensorFlow Privacy, compute_dp_sgd_privacy_lib_test.py, accounting by PLD: 1.2
    # epochs at noise 0.7, with and without sampling, and 5 epochs of 10,000 examples
    # at 64 a step (noise 2 in microbatches, which halve it).
    (0.7, 0.01, 120, 1e-5, 2.4612381, 2e-3),
    (0.7, 1.0, 2, 1e-5, 10.1224946, 2e-3),
    (1.0, 0.0064, 782, 1e-6, 1.199, 2e-3),
    (1.0, 1.0, 5, 1e-6, 12.595, 2e-3),
]


@pytest.mark.parametrize(
    ("sigma", "rate", "times", "delta", "published", "within"), PUBLISHED
)
def test_epsilon_is_what_was_published(
    sigma: float, rate: float, times: int, delta: float, published: float, within: float
) -> None:
    found = epsilon([Event(sigma, rate, times)], delta)
    assert found == pytest.approx(published, abs=within)


def test_no_accountant_is_asked_about_next_to_no_noise() -> None:
    assert epsilon([Event(1e-3)], 1e-5) == math.inf
    assert epsilon([Event(0.05)], 1e-5) > 100


def test_a_multiplier_for_a_budget_keeps_it_and_is_no_larger_than_needed() -> None:
    found = multiplier(3.0, 1e-5, 0.5, 10)
    assert epsilon([Event(found, 0.5, 10)], 1e-5) <= 3.0
    assert epsilon([Event(found * 0.997, 0.5, 10)], 1e-5) > 3.0
    assert most(Event(found, 0.5), 3.0, 1e-5, 30) == 10
    assert epsilon([Event(0.0)], 1e-5) == math.inf
    assert epsilon([], 1e-5) == 0.0


def test_the_same_release_is_charged_once_and_any_other_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, 1e-5, budget=2.0)
    first = Charge("client", 1, "aa", Event(4.0))
    one = ledger.charge(first)
    assert ledger.charge(first) == one == Ledger(path, 1e-5).charge(first)
    again = Ledger(path, 1e-5, budget=2.0).charge(Charge("client", 1, "bb", Event(4.0)))
    assert again > one
    assert again == epsilon([Event(4.0, 1.0, 2)], 1e-5)
    late = Ledger(path, 1e-5, budget=2.0)
    with pytest.raises(BudgetError, match="the budget is 2"):
        late.charge(Charge("client", 2, "cc", Event(1.0)))
    assert Ledger(path, 1e-5).count == 2


def test_a_changed_ledger_is_found(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, 1e-5)
    for place in range(3):
        ledger.charge(Charge("client", place, "aa", Event(10.0)))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[2])
    with pytest.raises(CheckpointError, match="line 2"):
        Ledger(path, 1e-5)
    cheaper = json.loads(lines[1]) | {"event": {"multiplier": 99.0}}
    path.write_text(lines[0] + json.dumps(cheaper) + "\n" + lines[2])
    with pytest.raises(CheckpointError, match="line 2"):
        Ledger(path, 1e-5)


def test_half_a_line_is_no_charge_and_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path, 1e-5).charge(Charge("client", 1, "aa", Event(10.0)))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    ledger = Ledger(path, 1e-5)
    assert ledger.count == 1
    ledger.charge(Charge("client", 2, "bb", Event(10.0)))
    assert Ledger(path, 1e-5).count == 2


DYING = """
import os, signal, sys
from pathlib import Path
from fedelta.client.accountants import Event
from fedelta.client.ledgers import Charge, Ledger
ledger = Ledger(Path(sys.argv[1]), 1e-5)
ledger.charge(Charge("client", 1, "aa", Event(10.0)))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_right_after_the_charge_leaves_it_charged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(path)], check=False, env=dict(os.environ)
    )
    assert done.returncode == -signal.SIGKILL
    assert Ledger(path, 1e-5).spent == epsilon([Event(10.0)], 1e-5)

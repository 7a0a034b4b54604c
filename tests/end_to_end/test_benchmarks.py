"""The benchmarks in the reduced forms that CI runs."""

import pytest

from fedelta.benchmarks import secagg
from tests.scripts import told


@pytest.mark.slow
def test_a_language_models_replays_stand_side_by_side() -> None:
    said = told("benchmarks/check_b.py", "--tiny", "--workers", "0")
    assert "fedavg in factors" in said
    assert "dare(density=0.5) in product" in said
    assert "all holds" in said


@pytest.mark.slow
def test_fifty_trivial_clients_cost_next_to_nothing() -> None:
    code = (
        "from fedelta.benchmarks.simulation import in_process; "
        "print(min(in_process(0) for _ in range(3)))"
    )
    took = float(told("-c", code).splitlines()[-1])
    assert took < 1.0, "three rounds of 50 clients, beyond imports"


def test_a_masked_client_sends_no_more_than_flowers() -> None:
    """Bytes up of one client's part, beside SecAgg+ on the same vectors."""
    given = secagg.vectors(4, 20_000)
    mean = secagg.ours("", "fedavg", 32, 0.125, given)[2]
    ties = secagg.ours("", "ties(1.0)", 32, 0.125, given)[2]
    theirs = secagg.flowers(given, 3)[2]
    assert 80_000 < mean < 0.6 * theirs
    assert mean < ties < 1.2 * theirs

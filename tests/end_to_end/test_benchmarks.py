"""The benchmarks in the reduced forms that CI runs."""

import pytest

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

"""What is measured of a federation, in the reduced forms that CI runs."""

import pytest

from tests.scripts import told


@pytest.mark.slow
@pytest.mark.needs_nginx
def test_a_thousand_clients_are_extrapolated() -> None:
    said = told("benchmarks/scaling.py", "--size", "3M", "--clients", "1000")
    rows = [line for line in said.splitlines() if line.startswith("| 1,000 ")]
    assert [row.split(" | ")[1:3] for row in rows] == [
        ["1", "replies"],
        ["2", "states"],
        ["2", "merges"],
        ["3", "states"],
        ["3", "merges"],
    ]


@pytest.mark.slow
def test_memory_does_not_grow_with_clients() -> None:
    assert "\nwithin 300 MB" in told("benchmarks/memory.py", "--clients", "12")


@pytest.mark.slow
@pytest.mark.needs_nginx
@pytest.mark.needs_network
def test_a_bad_day_ends_with_the_expected_model() -> None:
    """Networks, TLS, keys; an institution is killed in round 2, the server in 3."""
    said = told("benchmarks/federation.py", "--tiny")
    assert "is what its seals give" in said
    assert "server process is killed in round 3" in said


@pytest.mark.slow
@pytest.mark.needs_nginx
def test_a_masked_round_goes_over_sockets() -> None:
    """Three institutions with pinned keys, over TLS: one sum, and nothing but it."""
    said = told("benchmarks/veiled.py")
    assert "read off the opened sums" in said
    assert said.count("in, as it was signed here") == 3

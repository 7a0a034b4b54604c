"""The benchmark of quality against epsilon, in its reduced form."""

from pathlib import Path
from typing import Any

import pytest

from fedelta.benchmarks import heads, privacy
from fedelta.benchmarks.epsilons import plot, table
from fedelta.benchmarks.privacy import grid, run
from fedelta.benchmarks.quality import read

pytestmark = [pytest.mark.slow, pytest.mark.peer("opacus", "dp_accounting")]


def test_noise_is_calibrated_to_the_budget_and_told(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for cell in grid("tiny"):
        rows.append(run(cell, rows))
    for row in rows[1:]:
        assert 0.95 * row["epsilon"] < row["spent"] <= row["epsilon"]
    assert rows[0]["final"] > rows[0]["base"]
    assert rows[0]["spent"] == 0
    assert len(list(table(rows))) == 2 + 2
    plot(rows, tmp_path / "privacy.png")
    assert (tmp_path / "privacy.png").stat().st_size > 1000


def test_what_the_pages_tell_is_in_the_results() -> None:
    """Every line of the tables in docs/budgets.md is a line of the results."""
    page = Path(privacy.__file__).parents[1] / "docs" / "budgets.md"
    told = page.read_text("utf-8")
    for results in (privacy.RESULTS, heads.RESULTS):
        for line in table(read(results)):
            assert line in told

"""Flower's own strategies get the same clients, and train them as we do."""

from pathlib import Path

import pytest

from fedelta.benchmarks import flowertunes
from fedelta.benchmarks.trainings import Cohort
from tests import tiny


def test_flowers_mean_is_our_mean_of_factors(tmp_path: Path) -> None:
    cohort = Cohort(tiny.config(tmp_path, run={"rounds": 1}))
    theirs = flowertunes.tuned(cohort, "Flower FedAvg")
    other = flowertunes.tuned(cohort, "Flower FedAdam(eta=0.01)")
    cohort.base.reset()
    cohort.train()
    update = cohort.merged(cohort.arrivals("fp32"), "fedavg()", "factors")
    ours = cohort.judged(update)
    assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-4)
    assert theirs["loss"] < cohort.judged({})["loss"] - 0.01
    assert other["loss"] != pytest.approx(ours["loss"], rel=1e-3)
    assert theirs["bytes_up"] > 4 * 4 * sum(one.size for one in update.values()) / 2

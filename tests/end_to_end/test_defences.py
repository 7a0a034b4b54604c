"""Defences in a reduced form."""

import pytest

from fedelta.benchmarks.arenas import Cell, fight
from fedelta.benchmarks.attacks import settings
from fedelta.protocols.settings import Config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return settings("tiny", tmp_path_factory.mktemp("arena"))


def test_noise_ruins_the_mean_and_not_what_is_robust(config: Config) -> None:
    hit = fight(config, Cell("gaussian", "fedavg()", 0.3))
    held = fight(config, Cell("gaussian", "trimmed_mean(trim=0.3)", 0.3))
    assert hit["hostile"] == held["hostile"] == 3
    assert held["accuracy"] > hit["accuracy"] + 0.2


def test_a_gauge_spoils_factors_and_changes_no_product(config: Config) -> None:
    calm = fight(config, Cell("none", "fedavg()", 0.0, "product"))
    made = fight(config, Cell("gauge", "fedavg()", 0.3, "product"))
    spoilt = fight(config, Cell("gauge", "fedavg()", 0.3, "factors"))
    assert made["accuracy"] == pytest.approx(calm["accuracy"], abs=0.05)
    assert spoilt["accuracy"] < made["accuracy"] - 0.1

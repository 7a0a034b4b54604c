"""Clients look at themselves: numbers of their own data, taken where it lies."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedelta.client import probes
from fedelta.client.evaluation import evaluate
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Privacy
from fedelta.server.checks import check
from fedelta.server.evidence.keepers import model
from fedelta.server.evidence.revisits import revisited
from fedelta.server.histories import History
from fedelta.server.report import page
from tests import tiny
from tests.federations import federate, lines

KEYS = {probes.BARRIER, probes.CKA, probes.RATE_GAP}


@pytest.mark.parametrize("space", ["product", "frozen-a", "factors"])
def test_what_clients_measure_is_what_their_replies_say(
    tmp_path: Path, space: str
) -> None:
    config = tiny.config(
        tmp_path,
        run={"rounds": 1},
        data={"validation": 0.3},
        eval={"local": False, "probes": True, "where": "clients"},
        lora={"space": space},
        wire={"up": "fp32"},
    )
    check(config)
    federate(config)
    told = {one["client"]: one["metrics"] for one in lines(config, "contribution")}
    assert len(told) == 4
    with revisited(Path(config.run.out)) as visit, visit.round(1) as played:
        for name, found in told.items():
            base, own = model(visit.session), visit.judging(name)
            assert found.keys() >= KEYS
            again = probes.barrier(
                base, ({}, played.solo(name)), own, visit.tape.config
            )
            said = [found[f"{probes.LOSS}{at}"] for at in (0, 25, 50, 75, 100)]
            assert said == pytest.approx(again["losses"], rel=1e-4)
            before = evaluate(base, own, config)["loss"]
            assert said[0] == pytest.approx(before, rel=1e-5)
            assert found[probes.BARRIER] >= 0
            assert 0 < found[probes.CKA] < 1
            assert found[probes.RATE_GAP] > 0
    text = page(History.read(Path(config.run.out)))
    assert "How far did training take each client?" in text


def test_probing_changes_no_run(tmp_path: Path) -> None:
    digests = []
    for name, probing in (("a", False), ("b", True)):
        (tmp_path / name).mkdir()
        config = tiny.lm_config(
            tmp_path / name,
            run={"rounds": 2},
            data={"validation": 0.2},
            eval={"local": False, "probes": probing},
        )
        digests.append(federate(config)["model_digest"])
        told = [one["metrics"] for one in lines(config, "contribution")]
        assert all((one.keys() >= KEYS) == probing for one in told)
        numbers = [value for one in told for value in one.values()]
        assert all(isinstance(one, float) for one in numbers), json.dumps(told)
    assert digests[0] == digests[1]


def test_probes_are_refused_where_they_would_tell(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, eval={"probes": True, "local": False})
    bare = replace(config, data=replace(config.data, validation=0.0))
    with pytest.raises(ConfigError, match="nothing to probe with"):
        check(bare)
    private = Privacy("client", clip=1.0, noise_multiplier=1.0)
    uniform = replace(config.merge, weights="uniform")
    kept = replace(config.data, validation=0.2)
    with pytest.raises(ConfigError, match=r"eval\.probes = false"):
        check(replace(config, privacy=private, merge=uniform, data=kept))


def test_alike_states_cost_nothing_more() -> None:
    rows = np.arange(12.0).reshape(4, 3) ** 2
    assert probes.cka(rows, rows) == pytest.approx(1)
    assert probes.rate_gap(rows, rows) == pytest.approx(0)

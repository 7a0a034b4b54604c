"""Gates: one client learned wrong labels; each policy acts, and says why."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedelta.aggregators import factors
from fedelta.client.models import load_base
from fedelta.client.trials import trial
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config, Gate
from fedelta.server.checks import check
from fedelta.server.evidence import clusters
from tests import tiny
from tests.federations import federate, lines

GOOD = ("amber-clinic", "birch-clinic", "cobalt-clinic")
BAD = "dune-clinic"


def poisoned(folder: Path, policy: str, **gate: Any) -> Config:
    """Three clients that learn what is right, and one with more data that does not."""
    clients = []
    for place, name in enumerate((*GOOD, BAD)):
        rows = (
            tiny.rows(48, 4, seed=place) if name != BAD else tiny.rows(160, 4, seed=9)
        )
        if name == BAD:
            turned = dict(
                zip(tiny.CLASSES[:4], (*tiny.CLASSES[1:4], "amber"), strict=True)
            )
            rows = [
                {"text": one["text"], "label": turned[one["label"]]} for one in rows
            ]
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
        clients.append({"name": name, "data": str(path)})
    public = tiny.data(folder, 64, 4, "public.jsonl", seed=5)
    test = tiny.data(folder, 64, 4, "test.jsonl", seed=6)
    return tiny.config(
        folder,
        clients=clients,
        data={"test": str(test), "validation": 0.0},
        train={"steps": 12, "learning_rate": 3e-2},
        eval={"local": False, "metric": "loss"},
        gate={"policy": policy, "source": str(public), "metric": "loss"} | gate,
    )


def decided(config: Config) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    check(config)
    summary = federate(config)
    found = lines(config, "gate")
    assert [one["round"] for one in found] == list(range(1, config.run.rounds + 1))
    return summary, found


def test_off_is_off_and_changes_no_run(tmp_path: Path) -> None:
    config = poisoned(tmp_path, "off")
    federate(replace(config, run=replace(config.run, rounds=1)))
    assert not lines(config, "gate")


def test_a_report_says_what_each_is_worth(tmp_path: Path) -> None:
    config = poisoned(tmp_path, "report")
    summary, (first, _) = decided(config)
    assert set(first["worth"]) == {*GOOD, BAD}
    assert min(first["worth"], key=first["worth"].get) == BAD
    assert first["worth"][BAD] < 0
    assert first["taken"] == "merged"
    other = tmp_path / "other"
    other.mkdir()
    assert (
        federate(poisoned(other, "off"))["metrics"]["final"]
        == summary["metrics"]["final"]
    )


def test_quarantine_leaves_out_whom_it_is_better_without(tmp_path: Path) -> None:
    config = poisoned(tmp_path, "quarantine", rounds=1, margin=0.01)
    config = replace(config, run=replace(config.run, rounds=3))
    _, (first, second, third) = decided(config)
    assert first["quarantined"] == [BAD]
    assert first["after"] < first["merged"]
    assert first["taken"] == f"without {BAD}"
    assert second["sitting_out"] == [BAD]
    assert BAD not in second["worth"]
    assert third["sitting_out"] == []
    assert BAD in third["worth"], "a round later it is judged again"
    assert second["before"] == pytest.approx(first["after"], rel=0.05)


def test_a_worse_merge_falls_back(tmp_path: Path) -> None:
    config = poisoned(tmp_path, "fall_back", tolerance=-100.0, fall_back=("last",))
    _, found = decided(config)
    for one in found:  # none is good enough: the best of what was tried
        assert one["taken"] == min(one["tried"], key=one["tried"].get)
    other = tmp_path / "other"
    other.mkdir()
    shares = ("gain=0.5", "last")
    config = poisoned(other, "fall_back", fall_back=shares, tolerance=0.0)
    away = replace(config.merge, recipe="scale(-3.0) | fedavg()")
    config = replace(config, merge=away)
    stopped, found = decided(config)
    assert not found[0]["good"]
    assert found[0]["taken"] == "last"
    assert set(found[0]["tried"]) == {"merged", *shares}
    assert stopped["metrics"]["final"] == stopped["metrics"]["base"]


@pytest.mark.parametrize(
    ("recipe", "instead"),
    [("scale(-3.0) | fedavg()", "fedavg()"), ("scale(20.0) | fedavg()", "gain=0.05")],
)
def test_what_it_falls_back_to_is_what_is_released(
    tmp_path: Path, recipe: str, instead: str
) -> None:
    """Twenty times the mean, of which a twentieth is taken, is the mean again."""

    def given(name: str, text: str, **gate: Any) -> Config:
        folder = tmp_path / name
        folder.mkdir()
        found = tiny.config(
            folder,
            run={"rounds": 1},
            wire={"up": "fp32", "down": "fp32"},
            lora={"rank": 2, "alpha": 4.0, "rank_down": 32},
            eval={"local": False, "metric": "loss"},
            gate={"source": "test"} | gate,
        )
        return replace(found, merge=replace(found.merge, recipe=text))

    mean = federate(given("mean", "fedavg()"))
    config = given("gated", recipe, policy="fall_back", fall_back=(instead, "last"))
    summary, (found,) = decided(config)
    assert (found["good"], found["taken"]) == (False, instead)
    assert list(found["tried"]) == ["merged", instead], "and no further"
    value = summary["metrics"]["final"]["loss"]
    assert value == pytest.approx(found["tried"][instead], rel=1e-4)
    assert value == pytest.approx(mean["metrics"]["final"]["loss"], rel=1e-4)


def test_a_cohort_is_split_into_what_merges(tmp_path: Path) -> None:
    config = poisoned(tmp_path, "split")
    _, (first, _) = decided(config)
    assert first["taken"].startswith("cluster")
    taken = first["clusters"][int(first["taken"].split()[1]) - 1]
    assert BAD not in taken["clients"]
    assert taken["value"] < first["merged"]


def test_clients_judge_whole_merges_where_their_data_is(tmp_path: Path) -> None:
    def given(name: str, **gate: Any) -> Config:
        folder = tmp_path / name
        folder.mkdir()
        return tiny.config(
            folder,
            data={"validation": 0.25},
            eval={"local": False, "where": "clients", "metric": "loss"},
            gate={"source": "clients"} | gate,
        )

    plain = federate(given("plain"))
    config = given("report", policy="report")
    summary, found = decided(config)
    assert summary["model_digest"] == plain["model_digest"], (
        "no trace of what was tried"
    )
    assert [one["worth"] for one in found] == [{}, {}]
    assert found[0]["before"] == summary["metrics"]["base"]["loss"]
    assert found[1]["merged"] == pytest.approx(
        summary["metrics"]["final"]["loss"], rel=0.01
    )
    told = [one for one in lines(config, "traffic") if one["what"] == "gate"]
    assert len(told) == 4
    assert all(len(one["clients"]) == 4 for one in told)
    away = given("away", policy="fall_back", fall_back=("last",))
    away = replace(away, merge=replace(away.merge, recipe="scale(-3.0) | fedavg()"))
    stopped, found = decided(away)
    assert [one["taken"] for one in found] == ["last", "last"]
    assert stopped["metrics"]["final"] == stopped["metrics"]["base"]
    with pytest.raises(ConfigError, match="what others sent"):
        check(given("split", policy="split"))


def test_clusters_are_of_those_that_are_alike() -> None:
    near, far = 0.9, -0.2
    table = np.full((5, 5), far)
    for group in ((0, 3), (1, 2, 4)):
        table[np.ix_(group, group)] = near
    assert clusters.clusters(table.tolist(), 2) == [[0, 3], [1, 2, 4]]
    assert clusters.clusters(table.tolist(), 1) == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_trial_leaves_no_trace(tmp_path: Path, dtype: str) -> None:
    config = tiny.config(
        tmp_path, model={"id": str(tiny.model(tmp_path)), "dtype": dtype}
    )
    base = load_base(config, tiny.CLASSES[:4])
    before = {name: one.copy() for name, one in base.weights().items()}
    version, state = base.version, base.network.body.state_dict()
    kept = {name: one.clone() for name, one in state.items()}
    update = {
        name: np.full(shape, 0.1, np.float32)
        for name, shape in zip(
            base.update_layout().names, base.update_layout().shapes, strict=True
        )
    }
    with trial(base, update, 0.5):
        moved = base.weights()
        b, a = factors.names(next(n for n in before if "query" in n))
        rise = 0.5 * float((update[b] @ update[a])[0, 0])
        name = next(n for n in before if "query" in n)
        assert moved[name][0, 0] - before[name][0, 0] == pytest.approx(rise, rel=1e-3)
    assert base.version == version
    for name, one in base.weights().items():
        assert np.array_equal(one, before[name])
    for name, one in base.network.body.state_dict().items():
        assert bool((one == kept[name]).all())


def test_what_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, data={"validation": 0.0})
    for gate, told in (
        (Gate(policy="report"), "data.validation"),
        (Gate(policy="report", source="nowhere.jsonl"), "no such file"),
        (Gate(policy="report", source="test", fall_back=("gain=2",)), "a share"),
        (Gate(policy="split", source="test", clusters=1), "clusters from 2"),
    ):
        with pytest.raises(ConfigError, match=told):
            check(replace(config, gate=gate))

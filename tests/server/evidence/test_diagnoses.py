"""A finished run looked into: figures against what they are said to be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedelta.client import probes
from fedelta.client.evaluation import evaluate
from fedelta.client.trials import trial
from fedelta.protocols import seeds
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config
from fedelta.server.evidence.diagnoses import Asked, diagnose, predictors
from fedelta.server.evidence.keepers import model
from fedelta.server.evidence.looks import Look
from fedelta.server.evidence.revisits import revisited
from fedelta.server.histories import History
from fedelta.server.report import page
from tests import tiny
from tests.federations import federate, lines


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = tiny.config(
        tmp_path_factory.mktemp("diagnoses"),
        data={"validation": 0.3, "alpha": 0.3},
        eval={"local": False},
    )
    federate(config)
    return config


@pytest.fixture(scope="module")
def found(ran: Config) -> dict[str, Any]:
    return diagnose(Path(ran.run.out), Asked(metric="loss", probe=12))


def test_each_side_is_measured(ran: Config, found: dict[str, Any]) -> None:
    clients = found["clients"]
    names = clients["clients"]
    assert len(names) == 4
    with revisited(Path(ran.run.out)) as visit, visit.round(2) as played:
        base, config = model(visit.session), visit.tape.config
        some = visit.judging(names[0])
        before = evaluate(base, some, config)["loss"]
        with trial(base, played.merged(names[:2]).update):
            paired = evaluate(base, some, config)["loss"]
        update = played.solo(names[0])
        base.fold(update)
        own = evaluate(base, some, config)["loss"]
    told = clients["by_client"][names[0]]
    assert told["before"] == pytest.approx(before)
    assert told["own"] == pytest.approx(own)
    assert told["retention"] == pytest.approx(told["own"] / told["merged"])
    kept = [one["retention"] for one in clients["by_client"].values()]
    assert clients["retained"]["trr"] == pytest.approx(np.mean(kept))
    assert clients["retained"]["r_geo"] == pytest.approx(np.exp(np.mean(np.log(kept))))
    worst = max(names, key=lambda name: clients["by_client"][name]["merged"])
    assert clients["fairness"]["worst"]["client"] == worst
    merged = [clients["by_client"][name]["merged"] for name in names]
    assert clients["fairness"]["spread"] == pytest.approx(np.std(merged))
    table = clients["interference"]
    assert table[0][1] == pytest.approx(own - paired), "above 0 is better"
    assert all(table[i][i] is None for i in range(4))
    assert all(table[i][j] is not None for i in range(4) for j in range(4) if i != j)


def test_models_are_compared_on_the_probe(found: dict[str, Any]) -> None:
    states = found["states"]
    assert states["models"][:2] == ["last", "merged"]
    cka, gaps = np.array(states["cka"]), np.array(states["rate_gap"])
    assert cka.shape == gaps.shape == (6, 6)
    assert np.allclose(cka, cka.T)
    assert ((cka > 0) & (cka < 1 + 1e-9)).all()
    assert (gaps >= 0).all()
    assert not gaps.diagonal().any()
    for one in found["barriers"]:
        assert len(one["losses"]) == probes.POINTS
        assert one["barrier"] >= 0


def test_a_look_says_beforehand_how_many_texts_it_judges(ran: Config) -> None:
    said = list[tuple[int, int]]()
    few = Asked(metric="loss", probe=6, texts=4)
    told = diagnose(Path(ran.run.out), few, lambda *both: said.append(both))
    assert said[0] == (0, told["judged"])
    assert said[-1] == (told["judged"], told["judged"])
    assert [one for one, _ in said] == sorted({one for one, _ in said})
    assert set(told["clients"]["texts"].values()) == {4}
    assert told["soup"]["texts"] == 16
    for one in told["calibration"].values():
        assert sum(each["count"] for each in one["bins"]) == 16


def test_who_keeps_nothing_is_judged_by_its_own_mix_of_classes(tmp_path: Path) -> None:
    config = tiny.config(
        tmp_path, data={"alpha": 0.3, "validation": 0.0}, eval={"local": False}
    )
    federate(config)
    with revisited(Path(config.run.out)) as visit:
        task = visit.tape.task
        look = Look(visit, 12)
        assert set(look.tasks) == set(task.clients)
        for name, some in look.tasks.items():
            own = np.bincount(task.clients[name].labels, minlength=len(task.labels))
            drawn = np.bincount(some.labels, minlength=len(task.labels))
            assert 0 < len(some) <= 12
            assert (abs(drawn - len(some) * own / own.sum()) < 1).all()
            assert set(some.texts) <= set(task.test.texts)


def test_a_soup_is_no_worse_than_its_first_model(found: dict[str, Any]) -> None:
    soup = found["soup"]
    assert soup["metric"] == "loss"
    first = min(soup["alone"], key=soup["alone"].get)
    assert soup["members"][0] == first
    assert soup["value"] <= soup["alone"][first] + 1e-4  # its merge is rounded anew
    if len(soup["members"]) == 4:
        assert soup["value"] == pytest.approx(soup["all"], rel=1e-5)


def test_the_merged_model_is_told_beside_an_ensemble(found: dict[str, Any]) -> None:
    told = found["calibration"]
    assert {"last", "merged", "ensemble"} < set(told)
    for one in told.values():
        assert 0 <= one["ece"] <= 1
        assert sum(each["count"] for each in one["bins"]) == 32


def test_a_lead_is_held_against_the_chance_of_texts(
    ran: Config, found: dict[str, Any]
) -> None:
    test, by_chance = found["sets"]["test"], found["chances"]
    assert by_chance.keys() == {"base", "last", "ensemble"}
    for name, told in by_chance.items():
        for key, sign in (("accuracy", 1), ("loss", -1)):
            one = told[key]
            gap = sign * (test["merged"][key] - test[name][key])
            assert one["gap"] == pytest.approx(gap, abs=1e-9)
            assert one["low"] <= one["gap"] <= one["high"]
            assert 0 <= one["p"] <= 1
    assert by_chance["base"]["loss"]["low"] > 0, "training helps, on 32 texts"
    assert "Is that more than chance?" in page(History.read(Path(ran.run.out)))


def test_all_models_are_judged_here_and_elsewhere(
    ran: Config, found: dict[str, Any]
) -> None:
    folder = Path(ran.run.out)
    strange = tiny.data(folder.parent, 24, 4, "elsewhere.jsonl", seed=77)
    told = diagnose(
        folder, Asked(metric="loss", probe=4, beside={"elsewhere": strange})
    )
    assert set(told["sets"]) == {"test", "elsewhere"}
    assert told["sets"]["test"] == found["sets"]["test"]
    names = {"base", "last", "merged", "ensemble", *told["clients"]["clients"]}
    for models in told["sets"].values():
        assert models.keys() == names
    first, second = (
        {one["round"]: one["metrics"] for one in lines(ran, "evaluation")}[n]
        for n in (0, 1)
    )
    for name, metrics in (("base", first), ("last", second)):
        assert told["sets"]["test"][name] == pytest.approx(metrics)
    own = [told["sets"]["elsewhere"][n]["loss"] for n in told["clients"]["clients"]]
    assert told["sets"]["elsewhere"]["ensemble"]["loss"] <= np.mean(own), "Jensen"
    text = page(History.read(folder))
    assert ">elsewhere (24 texts)<" in text
    with pytest.raises(ConfigError, match="another name"):
        diagnose(folder, Asked(beside={"test": strange}))


def test_domains_are_told_apart(tmp_path: Path) -> None:
    config = tiny.lm_config(tmp_path, run={"rounds": 1}, eval={"local": False})
    federate(config)
    folder = Path(config.run.out)
    strange = tiny.data(tmp_path, 8, 8, "elsewhere.jsonl", seed=77)
    told = diagnose(folder, Asked(probe=4, beside={"elsewhere": strange}, texts=0))
    test = told["sets"]["test"]
    domains = [name for name in test["merged"] if name.startswith("perplexity/")]
    assert len(domains) == 4
    whole = {one["round"]: one["metrics"] for one in lines(config, "evaluation")}
    assert test["base"] == pytest.approx(whole[0], rel=1e-6)
    own = [test[name]["loss"] for name in told["clients"]["clients"]]
    assert test["ensemble"]["loss"] <= np.mean(own)
    assert not told["calibration"]
    text = page(History.read(folder))
    assert "And domain by domain?" in text
    assert ">birch<" in text


def test_a_run_is_left_as_it_was(ran: Config, found: dict[str, Any]) -> None:
    again = diagnose(Path(ran.run.out), Asked(metric="loss", probe=12))
    assert again == found
    assert len(lines(ran, "evaluation")) == 3
    first = diagnose(Path(ran.run.out), Asked(1, probe=4))
    assert first["round"] == 1
    with pytest.raises(ConfigError, match="not kept"):
        diagnose(Path(ran.run.out), Asked(9))


def test_the_report_shows_it(ran: Config, found: dict[str, Any]) -> None:
    text = page(History.read(Path(ran.run.out)))
    drawn = ["rate-gap", "interference", "reliability", "conflict-trimmed", "bands"]
    drawn += ["magnitude-disparity"]
    for name in drawn:
        assert f'id="{name}-title"' in text, name
    assert "R_geo" in text


def test_states_of_other_distributions_cost_more() -> None:
    drawn = seeds.normal(seeds.key("states"), 0, 64 * 8).reshape(64, 8)
    turned = drawn[:, ::-1] * np.arange(1, 9)
    near, far = drawn + 0.01 * turned, turned
    assert probes.rate_gap(drawn, drawn) < 1e-12
    assert probes.rate_gap(drawn, near) < 0.05 * probes.rate_gap(drawn, far)
    assert probes.cka(drawn, drawn @ np.linalg.qr(drawn.T @ drawn)[0]) == pytest.approx(
        1
    )
    assert probes.cka(drawn, near) > probes.cka(drawn, far)


def test_predictors_are_rank_correlations() -> None:
    drops = [0.1, 0.4, 0.2, 0.3]
    told = predictors({"same": [1, 9, 2, 3], "flat": [1, 1, 1, 1]}, drops)
    assert told == {"same": 1.0, "flat": 0.0}


def test_models_in_one_basin_have_no_barrier(ran: Config) -> None:
    with revisited(Path(ran.run.out)) as visit, visit.round(1) as played:
        config = replace(visit.tape.config)
        test = visit.tape.task.test
        same = played.merged().update
        told = probes.barrier(model(visit.session), (same, same), test, config)
    assert told["barrier"] == pytest.approx(0.0, abs=1e-6)
    assert np.ptp(told["losses"]) < 1e-5

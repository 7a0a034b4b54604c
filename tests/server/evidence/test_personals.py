"""Clients' own models: what is written is what was judged, and no run is touched."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedelta.aggregators.compare import compare
from fedelta.client.evaluation import evaluate
from fedelta.client.models import Base
from fedelta.client.personals import FOLDER
from fedelta.client.trials import trial
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Client, Config
from fedelta.server.checks import check
from fedelta.server.evidence import divisions, personals, routers
from fedelta.server.evidence.keepers import model
from fedelta.server.evidence.revisits import Revisit, revisited
from fedelta.server.histories import History
from fedelta.server.report import page
from fedelta.server.runs import load
from tests import tiny
from tests.federations import federate, lines

LORA = "lora_A.weight"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = tiny.config(
        tmp_path_factory.mktemp("personals"),
        data={"validation": 0.4, "alpha": 0.3, "hand_on": True},
        eval={"local": False},
        wire={"up": "fp16"},
    )
    federate(config)
    return config


@pytest.fixture(scope="module")
def found(ran: Config) -> dict[str, Any]:
    return personals.personalise(
        Path(ran.run.out), personals.Asked(steps=6, metric="loss")
    )


def added(folder: Path) -> Iterator[tuple[str, Any]]:
    """By weight's name, what an adapter adds to it; its scaling is 1."""
    held = {
        n.removeprefix("base_model.model."): one for n, one in _held(folder).items()
    }
    for name, a in held.items():
        if name.endswith(LORA):
            module = name.removesuffix(LORA)
            yield f"{module}weight", held[f"{module}lora_B.weight"] @ a


def _held(folder: Path) -> dict[str, Any]:
    said = json.loads((folder / "adapter_config.json").read_text())
    assert said["r"] == said["lora_alpha"]
    held: dict[str, Any] = load_file(folder / "adapter_model.safetensors")
    return held


@contextmanager
def worn(base: Base, folder: Path) -> Iterator[None]:
    """A base with a written adapter added to it and its head beside it."""
    weights = base.weights()
    before = {name: one.copy() for name, one in weights.items()}
    for weight, change in added(folder):
        weights[weight] += change
    for weight, value in load_file(folder / "head.safetensors").items():
        np.copyto(weights[weight], value)
    base.settle()
    yield
    for weight, value in before.items():
        np.copyto(weights[weight], value)
    base.settle()


def test_what_is_written_is_what_was_judged(ran: Config, found: dict[str, Any]) -> None:
    folder = Path(ran.run.out)
    with revisited(folder) as visit:
        parts = personals.halves(visit)
        base = model(visit.at(0))
        for name, part in parts.items():
            told = found["by_client"][name]
            assert told["base"] == pytest.approx(
                evaluate(base, part.judging, ran)["loss"]
            )
            with worn(base, folder / FOLDER / name):
                made = evaluate(base, part.judging, ran)["loss"]
            assert made == pytest.approx(told["personal"], abs=1e-4)


def test_a_client_takes_the_share_that_does_best(found: dict[str, Any]) -> None:
    clients = found["by_client"]
    assert len(clients) >= 3
    for one in clients.values():
        best = min(one["tried"].values())
        assert one["tried"][f"{one['share']:g}"] == best <= one["tried"]["0"]
        ends = {"0": one["global"], "1": one["tuned"]}
        if f"{one['share']:g}" in ends:
            assert one["personal"] == ends[f"{one['share']:g}"]
    assert any(one["share"] > 0 for one in clients.values()), "own training helps some"
    mean = found["mean"]
    assert mean["tuned"] != mean["global"] != mean["local"] != mean["base"]
    assert found["worst"]["global"] == max(one["global"] for one in clients.values())


def test_the_report_shows_every_clients_models(
    ran: Config, found: dict[str, Any]
) -> None:
    text = page(History.read(Path(ran.run.out)))
    assert "What would a model of its own give each client?" in text
    for one in found["by_client"].values():
        for name in personals.MODELS:
            assert f"{one[name]:.3f}" in text


def test_without_a_share_of_its_own_a_client_has_the_global_model(ran: Config) -> None:
    folder = Path(ran.run.out)
    asked = personals.Asked(shares=(), metric="loss", local=False)
    told = personals.personalise(folder, asked)
    with pytest.raises(ConfigError, match="no metric 'good'"):
        personals.personalise(folder, replace(asked, metric="good"))
    path = folder / personals.FILE
    (first, *_) = told["by_client"]
    half = {key: one for key, one in told.items() if key not in ("mean", "worst")}
    half["by_client"] = {first: told["by_client"][first]}
    path.write_text(json.dumps(half))
    again = personals.personalise(folder, asked)
    assert again == told, "it goes on where it was stopped"
    for one in told["by_client"].values():
        assert (one["share"], one["personal"]) == (0.0, one["global"])
        assert "local" not in one
    (name, *_) = told["by_client"]
    whole, mine = (dict(added(folder / w)) for w in ("model", f"personal/{name}"))
    for weight, change in whole.items():
        np.testing.assert_allclose(mine[weight], change, atol=1e-6)


def test_clients_that_keep_nothing_cannot_choose(ran: Config) -> None:
    with revisited(Path(ran.run.out)) as visit:
        task = replace(visit.tape.task, validation=0.0)
        without = Revisit(replace(visit.tape, task=task), visit.session, visit.versions)
        with pytest.raises(ConfigError, match=r"data\.validation"):
            personals.halves(without)


def test_clusters_are_merged_apart_and_go_on(ran: Config, tmp_path: Path) -> None:
    folder, out = Path(ran.run.out), tmp_path / "apart"

    def stop(done: int, _: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        divisions.divide(folder, out, tell=stop)
    assert not [*tmp_path.iterdir()], "nothing half made is left"
    told = divisions.divide(folder, out, metric="loss")
    groups = [one["members"] for one in told["clusters"]]
    assert sorted(name for group in groups for name in group) == [
        f"client-0{place}" for place in range(4)
    ]
    with revisited(folder) as visit, visit.round(2) as played:
        base, config = model(visit.session), visit.session.config
        cosine = np.array(compare(list(played.arrivals))["cosine"])
        names = [one.name for one in played.arrivals]
        for one in told["clusters"]:
            places = [names.index(name) for name in one["members"]]
            if len(places) > 1:
                within = cosine[np.ix_(places, places)]
                mean = (within.sum() - len(places)) / (len(places) * (len(places) - 1))
                assert one["alike"] == pytest.approx(mean)
            with trial(base, played.merged(one["members"]).update):
                for name, value in one["own"].items():
                    some = visit.judging(name)
                    assert evaluate(base, some, config)["loss"] == pytest.approx(value)
            assert (out / one["name"] / "model" / "adapter_model.safetensors").exists()
    config = load(out / "cluster-1.toml", overrides=["run.rounds=1"])
    summary = federate(config)
    assert summary["clients"] == len(groups[0])
    assert config.data.only == tuple(groups[0])
    with pytest.raises(ConfigError, match="there already"):
        divisions.divide(folder, out)


def test_clients_keep_a_mix_of_their_own_and_tell_nothing_of_it(tmp_path: Path) -> None:
    config = tiny.config(
        tmp_path,
        data={"validation": 0.3, "alpha": 0.3},
        eval={"local": False, "where": "clients", "metric": "loss"},
        personal={"steps": 6},
    )
    federate(config)
    told = [line["metrics"].keys() for line in lines(config, "evaluation")]
    assert set().union(*told) == {"accuracy", "loss", "macro_f1", "examples"}
    kept = sorted(Path(config.run.out).glob(f"clients/*/*/{FOLDER}"))
    assert len(kept) == 4
    with revisited(Path(config.run.out)) as visit:
        base = model(visit.kept())
        for folder in kept:
            mix = json.loads((folder / "mix.json").read_text())
            _, held = visit.tape.task.split(folder.parts[-3])
            chosen = mix["values"][str(mix["share"])]
            with worn(base, folder):
                made = evaluate(base, held, config)["loss"]
            assert made == pytest.approx(chosen, abs=1e-4)
            assert chosen == min(mix["values"].values())
    with pytest.raises(ConfigError, match=r"eval\.where"):
        check(replace(config, eval=replace(config.eval, where="server")))


def test_a_hosted_runs_cluster_asks_its_members_alone() -> None:
    hosted = Config(
        clients=tuple(Client(name) for name in "abc"),
        data=replace(Config().data, source="", labels=("x", "y")),
    )
    some = divisions.of_members(hosted, ["a", "c"], Path("apart"))
    assert [one.name for one in some.clients] == ["a", "c"]
    assert not some.data.only


@pytest.mark.filterwarnings("ignore:.is_gradient:FutureWarning")  # peft's own
def test_experts_are_routed_by_peft(ran: Config, tmp_path: Path) -> None:
    import torch
    from peft import ArrowConfig, PeftModel
    from peft.tuners.lora.arrow import create_arrow_model
    from transformers import AutoModel

    out = tmp_path / "experts"
    told = routers.keep_apart(
        Path(ran.run.out), out, steps=6, routing=routers.Routing(2), metric="loss"
    )
    mean = told["mean"]
    assert len({mean[name] for name in routers.MODELS}) == 4, "four different models"
    names = sorted(told["by_client"])
    paths = [str(out / routers.EXPERTS / name) for name in names]
    tokens = torch.arange(20, 40).reshape(2, 10)

    def whole() -> Any:
        return AutoModel.from_pretrained(out / routers.WHOLE).eval()

    with torch.no_grad():
        plain = whole()(tokens).last_hidden_state
        alone = PeftModel.from_pretrained(whole(), paths[0])(tokens).last_hidden_state
        made = create_arrow_model(
            whole(), paths, ArrowConfig(2, 1.0, rng_seed=0)
        ).eval()
        mixed = made(tokens).last_hidden_state
        one = ArrowConfig(1, 1.0, rng_seed=0)
        single = create_arrow_model(whole(), paths[:1], one).eval()
        same = single(tokens).last_hidden_state
    assert not torch.allclose(plain, mixed, atol=1e-4)
    torch.testing.assert_close(same, alone)
    with revisited(Path(ran.run.out)) as visit:
        base = model(visit.kept())
        part = personals.halves(visit)[names[0]]
        before = evaluate(base, part.judging, ran)["loss"]
        assert before == pytest.approx(told["by_client"][names[0]]["global"])


def test_nobodys_expert_is_handed_on_unasked(ran: Config, tmp_path: Path) -> None:
    folder = Path(ran.run.out)
    path = folder / "config.json"
    kept = path.read_text()
    try:
        path.write_text(kept.replace('"hand_on": true', '"hand_on": false'))
        with pytest.raises(ConfigError, match="hand_on"):
            routers.keep_apart(folder, tmp_path / "experts")
    finally:
        path.write_text(kept)
    assert not (tmp_path / "experts").exists()


def test_phases_are_the_rounds_steps(tmp_path: Path) -> None:
    config = tiny.config(
        tmp_path,
        train={"phases": (3, 1), "steps": 9},
        run={"rounds": 2},
        eval={"local": False},
    )
    federate(config)
    steps = {
        line["round"]: line["metrics"]["steps"]
        for line in lines(config, "contribution")
    }
    assert steps == {1: 3.0, 2: 1.0}

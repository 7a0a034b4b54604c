"""Masked rounds of whole federations: who drops out when, kills, refusals, and bits."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedelta.client.app import app as honest
from fedelta.client.data import load
from fedelta.protocols.aborts import AbortError
from fedelta.protocols.errors import ConfigError, QuorumError
from fedelta.protocols.messages import read_parcel
from fedelta.protocols.settings import Config
from fedelta.server import coordination, files, maskedrounds, provenances, rounds
from fedelta.server.checks import check
from fedelta.server.coordination import coordinate
from fedelta.server.engine import InProcessGrid
from fedelta.server.journal import Journal
from fedelta.server.runs import config_json
from fedelta.server.verifications import EQUAL, verify
from fedelta.server.withdrawals import withdraw
from tests import tiny
from tests.federations import federate, lines

STEPS = ("advert", "shares", "input", "unmask.0", "values", "unmask.1")


def made(root: Path, name: str, **tables: Any) -> Config:
    tiny.model(root)
    tiny.data(root)
    given = {
        "run": {"rounds": 1},
        "model": {"id": str(root / "model")},
        "data": {"source": str(root / "data.jsonl"), "clients": 5, "alpha": 1.0},
        "lora": {"space": "frozen-a"},
        "wire": {"down": "fp32", "feedback": False},
        "eval": {"local": False},
        "privacy": {"secure_aggregation": True, "slack": 1},
    }
    for table, keys in tables.items():
        given[table] = given.get(table, {}) | keys
    config = tiny.config(root / name, **given)
    check(config)
    return config


def step_of(message: Message) -> str:
    said = read_parcel(message.content)
    if not isinstance(said, tuple):
        return ""
    given = json.loads(said[0])
    opening = given.get("opening")
    return str(given["step"]) + ("" if opening is None else f".{opening}")


def run(config: Config, gone: Mapping[str, str]) -> dict[str, Any]:
    """A federation in this process; by client, the step from which on it is silent."""
    app, left = ClientApp(), set()

    def act(message: Message, context: Context) -> Message:
        name = str(context.node_config["client"])
        if gone.get(name) == step_of(message):
            left.add(name)
        if name in left:
            raise RuntimeError("gone")
        return honest(message, context)

    for kind in (app.train("masks"), app.query("masks"), app.query(), app.evaluate()):
        kind(act)
    folder = Path(config.run.out)
    journal = Journal(folder, config.journal.keep)
    journal.hold()
    files.write_json(folder / "config.json", asdict(config))
    states = {name: folder / "clients" / name for name in load(config).clients}
    try:
        with InProcessGrid(
            states, {"config": config_json(config)}, workers=0, app=app
        ) as grid:
            return coordinate(grid, config, journal)
    finally:
        journal.release()


@pytest.mark.parametrize("recipe", ["fedavg()", "ties(density=0.5)"])
@pytest.mark.parametrize("step", STEPS)
def test_one_client_may_go_at_any_step(tmp_path: Path, step: str, recipe: str) -> None:
    if recipe == "fedavg()" and step in ("values", "unmask.1"):
        pytest.skip("one pass has no such step")
    config = made(tmp_path, "run", merge={"recipe": recipe})
    summary = run(config, {"client-02": step})
    told = {one["client"]: one["verdict"] for one in lines(config, "contribution")}
    last = "unmask.1" if recipe != "fedavg()" else "unmask.0"
    assert told["client-02"] == ("accepted" if step == last else "refused")
    assert list(told.values()).count("accepted") == (5 if step == last else 4)
    assert summary["metrics"]["final"]["accuracy"] > 0
    (masks,) = lines(config, "masks")
    assert masks["threshold"] == 4
    assert set(masks["leaks"].values()) >= {0.0}


def test_a_masked_mean_is_the_open_one_up_to_its_grid(tmp_path: Path) -> None:
    """The same run without masks, its replies whole: updates differ by rounding."""
    masked = made(tmp_path, "masked")
    run(masked, {})
    bare = made(
        tmp_path, "bare", privacy={"secure_aggregation": False}, wire={"up": "fp32"}
    )
    federate(bare)
    found = [
        files.read_arrays(Path(one.run.out) / "model" / "adapter_model.safetensors")
        for one in (masked, bare)
    ]
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert np.allclose(value, found[1][name], rtol=0, atol=1e-6), name
    norms = [one["norm"] for one in lines(masked, "contribution")]
    assert norms == [None] * 5
    told = [one["loss"] for one in lines(masked, "contribution")]
    assert told == [None] * 5


def test_who_opens_last_changes_nothing(tmp_path: Path) -> None:
    models = {
        str(run(made(tmp_path, name), gone)["model_digest"])
        for name, gone in (("all", {}), ("four", {"client-04": "unmask.0"}))
    }
    assert len(models) == 1


@pytest.mark.parametrize("step", ["advert", "shares", "input"])
def test_too_few_end_the_run_and_open_nothing(tmp_path: Path, step: str) -> None:
    config = made(tmp_path, "run")
    gone = dict.fromkeys(("client-01", "client-02"), step)
    with pytest.raises(AbortError, match=r"TOO_FEW: 3 .*, 4 are needed"):
        run(config, gone)
    assert not (Path(config.run.out) / "masks" / "round-0001.json").exists()
    told = {one["client"]: one["reason"] for one in lines(config, "contribution")}
    assert told == dict.fromkeys(gone, "CLIENT_ERROR")


def test_an_opened_sum_is_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between opening and commit: the sum on disk is used, nobody is asked."""
    whole = str(run(made(tmp_path, "whole"), {})["model_digest"])
    config = made(tmp_path, "killed")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(maskedrounds, "update", killed)
        with pytest.raises(KeyboardInterrupt):
            run(config, {})
    everybody = {f"client-{k:02}": "advert" for k in range(5)}
    assert run(config, everybody)["model_digest"] == whole


def test_a_contribution_is_not_opened_over_two_cohorts(tmp_path: Path) -> None:
    """The server forgets what it opened, and asks again: clients refuse other sums."""
    config = made(tmp_path, "run")
    journal = Path(config.run.out)
    run(config, {})
    for path in (*(journal / "masks").glob("round-*"), *journal.glob("journal/*1/*")):
        path.unlink()
    (journal / "summary.json").unlink()
    with pytest.raises((AbortError, QuorumError), match="TOO_FEW"):
        run(config, {"client-03": "input"})
    told = [one["detail"] for one in lines(config, "contribution")]
    assert any("SPENT" in text for text in told)


def test_an_open_plan_is_refused_where_masks_are_agreed(tmp_path: Path) -> None:
    """A server that leaves the masks out gets nothing."""
    config = made(tmp_path, "run")
    patch = pytest.MonkeyPatch()
    patch.setattr(coordination, "MaskedStrategy", rounds.RoundStrategy)
    try:
        with pytest.raises(QuorumError, match="CLIENT_ERROR 5"):
            federate(config)
    finally:
        patch.undo()
    told = {one["detail"] for one in lines(config, "contribution")}
    assert told == {"ContributionError: this run's changes are sent under masks alone"}


def test_nothing_is_opened_where_nothing_has_enough_behind_it(tmp_path: Path) -> None:
    """Each client keeps a hundredth, places of its own: no three share one."""
    config = made(
        tmp_path,
        "run",
        merge={"recipe": "dare(density=0.01)"},
        privacy={"support": "private"},
    )
    with pytest.raises(AbortError, match="BELOW_RELEASE: no element has enough"):
        run(config, {})
    assert not list((Path(config.run.out) / "masks").glob("round-*"))


def test_merges_are_computed_again_from_the_kept_sums(tmp_path: Path) -> None:
    tables: dict[str, Any] = {"merge": {"recipe": "ties(density=0.5)"}}
    config = made(tmp_path, "run", run={"rounds": 2}, **tables)
    run(config, {"client-02": "values"})
    folder = Path(config.run.out)
    assert [one.verdict for one in verify(folder)] == [EQUAL, EQUAL]
    for one in provenances.read(folder)[1].said["contributions"]:
        assert bool(one["signature"]) == (one["verdict"] == "accepted")
    sums = folder / "masks" / "round-0002.safetensors"
    arrays = files.read_arrays(sums)
    moved = arrays["planes"].copy()
    moved[0] += moved[0] // 2
    files.write_arrays(sums, {**arrays, "planes": moved})
    assert [one.verdict for one in verify(folder)] == [EQUAL, "not equal"]
    said = files.read_json(sums.with_suffix(".json"))
    text = json.dumps(said).replace('\\"sealing\\":\\"', '\\"sealing\\":\\"00', 1)
    files.write_json(sums.with_suffix(".json"), json.loads(text))
    assert verify(folder)[1].verdict == "not equal"
    sums.with_suffix(".json").unlink()
    (_, gone) = verify(folder)
    assert gone.verdict == "not computed"
    with pytest.raises(ConfigError, match="merged under masks"):
        withdraw(folder, "client-00")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "space": ({"lora": {"space": "product"}}, r'lora.space = "product" keeps no sum'),
    "core": ({"lora": {"space": "core"}}, "masked sums of cores are not tried"),
    "share-a": ({"lora": {"space": "share-a"}}, "keeps nothing at a client"),
    "recipe": ({"merge": {"recipe": "median()"}}, r"median\(\) needs what each client"),
    "fisher": (
        {"merge": {"recipe": "fisher()"}, "wire": {"up": "fp32"}},
        "sends more than changes",
    ),
    "places": ({"merge": {"recipe": "breadcrumbs()"}}, "places of each client's own"),
    "threshold": ({"privacy": {"threshold": 3}}, "allowed for 5 clients .*: 4 to 5"),
    "colluders": ({"privacy": {"colluders": 4}}, "6 to 5: ask more clients"),
    "release": ({"privacy": {"release": 2}}, "privacy.release is 2, allowed: 3"),
    "release of colluders": (
        {"privacy": {"colluders": 2, "release": 3}, "data": {"clients": 9}},
        "privacy.release is 3, allowed: 4",
    ),
    "closed": (
        {"privacy": {"release": 0, "support": "private"}},
        "would open values of one client",
    ),
    "cap": ({"round": {"norm_cap": 1.0}}, "does not go with round.norm_cap"),
    "retries": ({"round": {"retries": 1}}, "does not go with round.retries"),
    "async": ({"round": {"mode": "async"}}, 'does not go with round.mode = "async"'),
    "gate": ({"gate": {"policy": "report"}}, 'does not go with gate.policy = "report"'),
    "few": ({"data": {"clients": 2}}, "ask more clients"),
    "bound": ({"privacy": {"bound": -1.0}}, "privacy.bound must be"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_masks_cannot_do_is_refused_by_name(tmp_path: Path, case: str) -> None:
    tables, said = REFUSED[case]
    with pytest.raises(ConfigError, match=said):
        made(tmp_path, "run", **tables)

"""Rounds on the tiny model: refusals, quorum, and every switch of a run."""

import json
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ArrayRecord, Message, RecordDict

from fedelta.protocols.errors import ConfigError, QuorumError
from fedelta.protocols.refusals import Reason
from fedelta.protocols.settings import Config
from fedelta.server.simulations import simulate
from tests import tiny
from tests.federations import Trick, federate, forged, lines, silent
from tests.protocols.forgeries import Forgery, put

BAD = "client-01"


def made(tmp_path: Path, name: str, **tables: Any) -> Config:
    folder = tmp_path / name
    tiny.model(tmp_path)
    tiny.data(tmp_path)
    given = {
        "model": {"id": str(tmp_path / "model")},
        "data": {"source": str(tmp_path / "data.jsonl"), "clients": 4, "alpha": 1.0},
        "wire": {"up": "fp32"},
        "eval": {"local": False},
    }
    for table, keys in tables.items():
        given[table] = given.get(table, {}) | keys
    return tiny.config(folder, **given)


def said(**changes: str) -> Trick:
    """A reply whose header says something else."""

    def change(data: bytes) -> bytes:
        forgery = Forgery.of(data)
        forgery.metadata.update(changes)
        return forgery.data()

    return forged(change)


def nan(data: bytes) -> bytes:
    forgery = Forgery.of(data)
    put(0, 0, 255, 255, 255, 255)(forgery)
    return forgery.data()


def bare(reply: Message) -> Message:
    reply.content = RecordDict()
    return reply


def crowded(reply: Message) -> Message:
    reply.content["extra"] = ArrayRecord()
    return reply


TRICKS: dict[Reason, Trick] = {
    Reason.CLIENT_ERROR: silent,
    Reason.NON_FINITE: forged(nan),
    Reason.BAD_HEADER: forged(lambda _: b""),
    Reason.BAD_OFFSETS: forged(lambda data: data + b"PK"),
    Reason.MISSING_PAYLOAD: bare,
    Reason.UNEXPECTED_RECORD: crowded,
    Reason.WRONG_RUN: said(run="00" * 8),
    Reason.WRONG_ROUND: said(round="9"),
    Reason.STALE_ROUND: said(round="0"),
    Reason.WRONG_CLIENT: said(client="client-00"),
    Reason.WRONG_BASE: said(base="ab" * 32),
    Reason.WRONG_SCHEMA: said(layout="ab" * 32),
    Reason.BAD_WEIGHT: said(weight="1000000"),
    Reason.BAD_VERSION: said(version="9"),
}


@pytest.fixture(scope="module")
def absent(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model of a run in which one client was silent in round 1."""
    folder = tmp_path_factory.mktemp("absent")
    config = made(folder, "run")
    return str(federate(config, {(BAD, 1): silent})["model_digest"])


@pytest.mark.parametrize("reason", TRICKS)
def test_a_refused_reply_leaves_no_trace(
    tmp_path: Path, absent: str, reason: Reason
) -> None:
    config = made(tmp_path, "run")
    summary = federate(config, {(BAD, 1): TRICKS[reason]})
    assert summary["refused"] == {str(reason): 1}
    assert summary["model_digest"] == absent
    told = [one for one in lines(config, "contribution") if one["round"] == 1]
    verdicts = {one["client"]: (one["verdict"], one["reason"]) for one in told}
    assert verdicts.pop(BAD) == ("refused", str(reason))
    assert set(verdicts.values()) == {("accepted", None)}
    again = [one for one in lines(config, "contribution") if one["round"] == 2]
    assert all(one["verdict"] == "accepted" for one in again)


def test_honest_runs_differ_from_it(tmp_path: Path, absent: str) -> None:
    assert federate(made(tmp_path, "run"))["model_digest"] != absent


def test_a_norm_cap_refuses_what_is_above_it(tmp_path: Path) -> None:
    config = made(tmp_path, "free", run={"rounds": 1})
    federate(config)
    norms = sorted(one["norm"] for one in lines(config, "contribution"))
    cap = (norms[-1] + norms[-2]) / 2
    capped = made(tmp_path, "capped", run={"rounds": 1}, round={"norm_cap": cap})
    assert federate(capped)["refused"] == {"NORM_CAP": 1}


def test_too_few_replies_end_the_run(tmp_path: Path) -> None:
    config = made(tmp_path, "run", round={"quorum": 4})
    with pytest.raises(QuorumError, match=r"3 of 4 .* 4 are needed .*CLIENT_ERROR 1"):
        federate(config, {(BAD, 1): silent})
    assert not (Path(config.run.out) / "summary.json").exists()


def once(trick: Trick) -> Trick:
    """A trick that is played the first time only."""
    played: list[int] = []

    def change(reply: Message) -> Message:
        played.append(1)
        return trick(reply) if len(played) == 1 else reply

    return change


def test_a_retry_asks_only_who_is_missing(tmp_path: Path) -> None:
    plain = federate(made(tmp_path, "plain"))
    config = made(tmp_path, "run", round={"quorum": 4, "retries": 1})
    summary = federate(config, {(BAD, 1): once(silent)})
    assert summary["model_digest"] == plain["model_digest"]
    told = [one["client"] for one in lines(config, "contribution") if one["round"] == 1]
    assert sorted(told) == sorted([BAD, *(f"client-0{n}" for n in range(4))])


@pytest.mark.parametrize(
    "tables",
    [
        {"merge": {"server_optimizer": "momentum(0.5)"}},
        {"lora": {"space": "factors"}},
        {"lora": {"init": "round"}},
        {"wire": {"up": "sparse(density=0.2)"}},
        {"wire": {"up": "dare(density=0.5)", "down": "sign256"}},
        {"wire": {"down": "sign256"}, "merge": {"recipe": "ties(density=0.5)"}},
        {"merge": {"weights": "uniform"}, "round": {"clients": 2}},
        {"eval": {"where": "both"}},
    ],
    ids=str,
)
def test_every_switch_runs(tmp_path: Path, tables: dict[str, Any]) -> None:
    config = made(tmp_path, "run", run={"rounds": 3}, **tables)
    summary = federate(config)
    assert summary["refused"] == {}
    asked = tables.get("round", {}).get("clients", 4)
    assert len(lines(config, "contribution")) == 3 * asked
    assert summary["metrics"]["final"]["examples"] > 0


def test_momentum_changes_the_second_round(tmp_path: Path) -> None:
    plain = made(tmp_path, "plain")
    moved = made(tmp_path, "moved", merge={"server_optimizer": "momentum(0.9)"})
    federate(plain)
    federate(moved)
    one, two = (
        [line["digest"] for line in lines(config, "release")]
        for config in (plain, moved)
    )
    assert one[1] != two[1]


def test_clients_alone_can_judge(tmp_path: Path) -> None:
    config = made(tmp_path, "run", eval={"where": "clients", "every": 2})
    summary = federate(config)
    found = lines(config, "evaluation")
    assert [(one["round"], one["where"]) for one in found] == [
        (0, "clients"),
        (2, "clients"),
    ]
    assert set(summary["metrics"]["final"]) == {
        "accuracy",
        "examples",
        "loss",
        "macro_f1",
    }


def test_what_the_way_down_cut_off_is_made_up_for(tmp_path: Path) -> None:
    """With a coarse way down, feedback keeps closer to the run that lost nothing."""
    gaps = {}
    exact = _loss(made(tmp_path, "exact", run={"rounds": 4}, wire={"down": "fp32"}))
    for feedback in (True, False):
        config = made(
            tmp_path,
            f"feedback-{feedback}",
            run={"rounds": 4},
            wire={"down": "sign256", "feedback": feedback},
        )
        gaps[feedback] = abs(_loss(config) - exact)
    assert gaps[True] < gaps[False]


def _loss(config: Config) -> float:
    return float(federate(config)["metrics"]["final"]["loss"])


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    config = made(tmp_path, "run", run={"rounds": 1})
    federate(config)
    with pytest.raises(ConfigError, match="fedelta resume"):
        simulate(config, workers=0)


def test_nothing_of_the_host_is_in_what_a_run_tells(tmp_path: Path) -> None:
    import socket

    config = made(tmp_path, "run", run={"rounds": 1})
    federate(config)
    for name in ("summary.json", "record.jsonl"):
        text = (Path(config.run.out) / name).read_text()
        assert str(tmp_path) not in text
        assert socket.gethostname() not in text
        assert json.loads(text.splitlines()[0] if "jsonl" in name else text)

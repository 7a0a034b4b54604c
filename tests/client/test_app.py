"""The Flower app: rounds, versions, baselines, and what it says when it cannot."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message, RecordDict

from fedelta.client import baselines, data, models, sessions, training
from fedelta.client.worker import handle
from fedelta.protocols import digests, messages
from fedelta.protocols.settings import Config, Privacy
from tests import tiny

from . import rounds


def reason(reply: Message) -> str:
    """Why there is no content."""
    return str(reply.error.reason)


def test_a_round_trains_and_replies(
    base: models.Base, config: Config, task: data.Task, tmp_path: Path
) -> None:
    asked = rounds.plan(base, config)
    reply = rounds.ask(rounds.job(config, tmp_path), asked)
    assert not reply.has_error()
    found = rounds.change(reply, asked, base, config)
    assert tuple(sorted(found)) == base.layout(config).names
    assert any(np.abs(value).max() > 0 for value in found.values())
    metrics = rounds.numbers(reply)
    assert metrics["examples"] == len(task.split("client-00")[0])
    assert metrics["loss"] > 0
    assert metrics["seconds"] > 0


def test_the_same_round_gives_the_same_payload(
    base: models.Base, config: Config, tmp_path: Path
) -> None:
    asked = rounds.plan(base, config)
    said = []
    for name in ("one", "two"):
        sessions.session.cache_clear()
        reply = rounds.ask(rounds.job(config, tmp_path / name), asked)
        said.append(messages.read_reply(reply.content)[0])  # type: ignore[index]
    assert said[0] == said[1]


def test_clients_share_a_base_whatever_version_each_has(
    base: models.Base, config: Config, tmp_path: Path
) -> None:
    updates = rounds.chain(base, 3)
    first = rounds.plan(base, config, updates)
    early = rounds.plan(base, config, client="client-01")
    one, two = (
        rounds.job(config, tmp_path / "a"),
        rounds.job(config, tmp_path / "b", "client-01"),
    )
    alone = messages.read_reply(rounds.ask(one, first, updates).content)
    shutil.rmtree(tmp_path / "a")
    rounds.ask(two, early)
    rounds.ask(one, rounds.plan(base, config, updates[:1]), updates[:1])
    rounds.ask(two, early)
    rest = rounds.plan(base, config, updates, held=1)
    mixed = messages.read_reply(rounds.ask(one, rest, updates[1:]).content)
    assert isinstance(alone, tuple)
    assert isinstance(mixed, tuple)
    ends = [
        rounds.change(
            rounds.ask(rounds.job(config, tmp_path / n), first, updates),
            first,
            base,
            config,
        )
        for n in "cd"
    ]
    assert digests.of_tensors(ends[0]) == digests.of_tensors(ends[1])
    # client-00's second reply owes what its first round's format took away
    assert alone[1]["loss"] == mixed[1]["loss"]


def test_an_update_that_is_missing_is_named(
    base: models.Base, config: Config, tmp_path: Path
) -> None:
    updates = rounds.chain(base, 3)
    late = rounds.plan(base, config, updates, held=2)
    reply = rounds.ask(rounds.job(config, tmp_path), late, updates[2:])
    assert "StaleRoundError: updates 1 to 2 are missing" in reason(reply)


def test_another_base_is_refused(
    base: models.Base, config: Config, tmp_path: Path
) -> None:
    asked = replace(rounds.plan(base, config), base="e" * 64)
    reply = rounds.ask(rounds.job(config, tmp_path), asked)
    assert "StaleRoundError" in reason(reply)
    assert "another base model" in reason(reply)


def test_another_layout_client_or_protocol_is_refused(
    base: models.Base, config: Config, tmp_path: Path
) -> None:
    where, asked = rounds.job(config, tmp_path), rounds.plan(base, config)
    for wrong, said in (
        (replace(asked, layout="f" * 64), "another layout"),
        (replace(asked, client="client-03"), "another client"),
        (replace(asked, protocol=99), "protocol 99"),
    ):
        reply = rounds.ask(where, wrong)
        assert said in reason(reply)


def test_a_bad_update_is_refused_and_the_base_recovers(
    base: models.Base, config: Config, tmp_path: Path
) -> None:
    asked = rounds.plan(base, config, [b"no update"])
    reply = rounds.ask(rounds.job(config, tmp_path / "a"), asked, [b"no update"])
    assert "PayloadError: update 1 does not decode" in reason(reply)
    good = rounds.plan(base, config)
    assert not rounds.ask(rounds.job(config, tmp_path / "b"), good).has_error()


def test_evaluation_judges_the_version_of_the_plan(
    base: models.Base, config: Config, tmp_path: Path
) -> None:
    updates = rounds.chain(base, 1)
    where = rounds.job(config, tmp_path)
    plain = rounds.ask(where, rounds.plan(base, config), kind="evaluate")
    moved = rounds.ask(
        where, rounds.plan(base, config, updates), updates, kind="evaluate"
    )
    before, after = (messages.read_metrics(one.content) for one in (plain, moved))
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert before["examples"] == after["examples"] != 0
    assert before["loss"] != after["loss"]


def test_the_roster_query(
    base: models.Base, config: Config, task: data.Task, tmp_path: Path
) -> None:
    data = handle(rounds.job(config, tmp_path), rounds.sent(RecordDict(), "query"))
    said = messages.read_metrics(messages.from_bytes(data).content)
    own, held = task.split("client-00")
    assert said == {
        "client": "client-00",
        "examples": len(own),
        "validation": len(held),
        "layout": base.layout(config).fingerprint,
        "base": base.digest,
    }


@pytest.mark.parametrize("whose", ["own", "all"])
def test_baselines_learn(config: Config, tmp_path: Path, whose: str) -> None:
    longer = replace(config, train=replace(config.train, steps=20))
    message = rounds.sent(baselines.question(whose), "train.alone")
    data = handle(rounds.job(longer, tmp_path), message)
    said = messages.read_metrics(messages.from_bytes(data).content)
    assert isinstance(said, dict)
    assert float(said["accuracy"]) > (0.9 if whose == "all" else 0.4)
    assert said["examples"] == 32


def test_baselines_train_as_long_as_was_run(config: Config, tmp_path: Path) -> None:
    losses = []
    for planned, asked in ((4, 1), (1, 0), (4, 0)):
        made = replace(config, run=replace(config.run, rounds=planned))
        message = rounds.sent(baselines.question("own", asked), "train.alone")
        data = handle(rounds.job(made, tmp_path), message)
        said = messages.read_metrics(messages.from_bytes(data).content)
        assert isinstance(said, dict)
        losses.append(said["train_loss"])
    assert losses[0] == losses[1] != losses[2]


def test_caps_bound_the_weight(folder: Path, tmp_path: Path) -> None:
    clients = [{"name": "a", "examples_cap": 9}, {"name": "b"}]
    config = tiny.config(folder, clients=clients)
    base = sessions.session(json.dumps(asdict(config))).base
    asked = rounds.plan(base, config, client="a")
    reply = rounds.ask(rounds.job(config, tmp_path, "a"), asked)
    assert rounds.numbers(reply)["examples"] == 9.0


def test_validation_is_told_where_clients_judge(
    base: models.Base, folder: Path, tmp_path: Path
) -> None:
    config = tiny.config(folder, eval={"where": "clients"})
    reply = rounds.ask(rounds.job(config, tmp_path), rounds.plan(base, config))
    assert 0 <= rounds.numbers(reply)["validation_accuracy"] <= 1


def test_a_loss_that_is_no_number_is_an_error_reply(
    base: models.Base, folder: Path, tmp_path: Path
) -> None:
    config = tiny.config(
        folder, train={"learning_rate": 1e30, "clip_norm": 0.0, "steps": 12}
    )
    reply = rounds.ask(rounds.job(config, tmp_path), rounds.plan(base, config))
    assert "BoundsError: the loss of step" in reason(reply)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_whatever_a_trainer_raises_stays_here(
    base: models.Base, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError(f"row 7: {base.digest} is a secret")

    monkeypatch.setattr(training.TorchTrainer, "train", explode)
    reply = rounds.ask(rounds.job(config, tmp_path), rounds.plan(base, config))
    assert reply.error.reason == "RuntimeError: see this client's own log"


def test_a_node_without_its_settings(
    base: models.Base, config: Config, tmp_path: Path
) -> None:
    where = rounds.job(config, tmp_path)
    for key in ("client", "state"):
        node = {name: value for name, value in where.node_config.items() if name != key}
        reply = rounds.ask(replace(where, node_config=node), rounds.plan(base, config))
        assert reason(reply).startswith("ConfigError")
    for text in ("{", '{"run": 3}'):
        broken = replace(where, run_config={"config": text})
        assert reason(rounds.ask(broken, rounds.plan(base, config))).startswith("Conf")


@pytest.mark.peer("opacus", "dp_accounting")
def test_a_client_holds_a_run_to_its_promise_of_privacy(
    base: models.Base, config: Config, tmp_path: Path
) -> None:
    """Whatever the server asks for: it may be the one that is guarded against."""
    private = replace(
        config,
        privacy=Privacy("record", clip=0.5, noise_multiplier=2.0),
        merge=replace(config.merge, weights="uniform"),
        eval=replace(config.eval, local=False),
    )
    asked = rounds.plan(base, private)
    where = rounds.job(private, tmp_path)
    assert not rounds.ask(where, asked).has_error()
    reply = rounds.ask(where, asked, kind="evaluate")
    assert "nothing that is measured" in reason(reply)
    question = rounds.sent(baselines.question("own"), "train.alone")
    reply = messages.from_bytes(handle(where, question))
    assert "nothing that is measured" in reason(reply)
    for wrong in (
        replace(private, train=replace(private.train, packing=True)),
        replace(private, eval=replace(private.eval, where="clients")),
    ):
        reply = rounds.ask(rounds.job(wrong, tmp_path), asked)
        assert "ConfigError" in reason(reply)

"""What an institution refuses, in its own words, and on whose data it runs."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedelta.client.failures import public_reason
from fedelta.client.joins import policies, tables
from fedelta.client.joins.layouts import fill
from fedelta.client.joins.policies import Agrees, Compute, Policy, Privacy
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Client, Config, Data, Merge, Round, Train, Wire
from fedelta.protocols.settings import Privacy as Noise

OWN = policies.Data("notes.jsonl")


def refusal(policy: Policy, config: Config) -> str:
    with pytest.raises(policies.NotAgreedError) as caught:
        policies.check(policy, config)
    return str(caught.value)


def test_the_template_agrees_to_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "join.toml").write_text(fill("join.toml", file='"x.jsonl"'))
    policies.check(tables.read(tmp_path / "join.toml", Policy), Config())


@pytest.mark.parametrize(
    ("policy", "config", "said"),
    [
        (
            Policy(OWN, compute=Compute(steps=4)),
            Config(train=Train(steps=5)),
            "train.steps is 5, allowed is at most 4",
        ),
        (
            Policy(OWN, agrees=Agrees(recipes=("ties",))),
            Config(merge=Merge(recipe="fedavg() | ties(density=0.2)")),
            "merge.recipe uses fedavg, allowed is ties",
        ),
        (
            Policy(OWN, agrees=Agrees(wires=("fp16",))),
            Config(wire=Wire(up="sign256")),
            "wire.up uses sign256",
        ),
        (
            Policy(OWN, privacy=Privacy(cohort=3)),
            Config(round=Round(quorum=0.5), clients=tuple(map(Client, "abcd"))),
            "may merge 2 institutions, wanted are 3",
        ),
        (
            Policy(OWN, privacy=Privacy(clip=1.0)),
            Config(),
            "clipped to nothing, wanted is 1.0",
        ),
        (Policy(OWN, privacy=Privacy(noise=0.5)), Config(), "noise multiplier is 0.0"),
        (
            Policy(OWN, privacy=Privacy(epsilon=3.0)),
            Config(privacy=Noise("record", clip=1.0, noise_multiplier=1.0)),
            "privacy.epsilon is not held, allowed is at most 3.0",
        ),
        (
            Policy(OWN, privacy=Privacy(epsilon=3.0, delta=1e-5)),
            Config(privacy=Noise("record", 1.0, 1.0, epsilon=3.0, delta=0.1)),
            "privacy.delta is 0.1, allowed is at most 1e-05",
        ),
        (
            Policy(OWN, privacy=Privacy(mode="record", noise=1.0)),
            Config(privacy=Noise("client", 1.0, 1.0)),
            'privacy.mode is "client", wanted is "record"',
        ),
        (
            Policy(OWN, privacy=Privacy(epsilon=3.0)),
            Config(privacy=Noise(epsilon=1.0)),
            "privacy.epsilon is not held",
        ),
        (
            Policy(OWN, privacy=Privacy(secure_aggregation=True)),
            Config(),
            "secure aggregation is off",
        ),
    ],
)
def test_what_is_too_much_is_named(policy: Policy, config: Config, said: str) -> None:
    assert said in refusal(policy, config)


def test_everything_too_much_is_named_at_once() -> None:
    policy = Policy(OWN, compute=Compute(steps=1, batch=1), privacy=Privacy(cohort=9))
    text = refusal(policy, Config())
    assert all(one in text for one in ("train.steps", "train.batch", "institutions"))


def test_the_coordinator_is_told() -> None:
    reason = public_reason(policies.NotAgreedError("train.steps is 5"))
    assert reason == "NotAgreedError: train.steps is 5"


@given(st.integers(1, 64), st.integers(1, 64))
def test_at_most_means_at_most(asked: int, most: int) -> None:
    policy = Policy(OWN, compute=Compute(steps=most))
    config = Config(train=Train(steps=asked))
    if asked > most:
        assert "train.steps" in refusal(policy, config)
    else:
        policies.check(policy, config)


def test_data_is_the_institutions_whatever_the_run_says() -> None:
    asked = Config(
        data=Data(source="/etc/passwd", labels=("x", "y"), test="/etc/shadow"),
        clients=(Client("a", data="/root/other"), Client("b")),
    )
    ours = policies.own(Policy(dataclasses.replace(OWN, text="note")), asked, "b")
    assert [one.name for one in ours.clients] == ["b"]
    assert ours.clients[0].data == ours.data.source == "notes.jsonl"
    assert ours.data.text == "note"
    assert "/etc" not in repr(ours)
    assert "other" not in repr(ours)


def test_a_run_must_name_its_classes() -> None:
    with pytest.raises(policies.NotAgreedError, match=r"data\.labels"):
        policies.own(Policy(OWN), Config(), "a")


def test_a_misspelt_floor_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "join.toml"
    path.write_text('[data]\nfile = "x"\n[privacy]\ncohorts = 5\n')
    with pytest.raises(ConfigError, match="did you mean cohort"):
        tables.read(path, Policy)
    path.write_text('[data]\nfile = "x"\n[privacy]\ncohort = "5"\n')
    with pytest.raises(ConfigError, match=r"privacy\.cohort must be a valid integer"):
        tables.read(path, Policy)

"""SCAFFOLD's rounds beside the same loop written by hand."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from fedelta.aggregators.furthers import CONTROL
from fedelta.client.data import load
from fedelta.client.models import Base, load_base
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config
from fedelta.protocols.vectors import Floats
from fedelta.server import checks, defaults
from fedelta.server.recordings import Recording, updates
from fedelta.server.records import Record
from fedelta.server.runs import load as configured
from tests import tiny
from tests.federations import Trick, federate, lines, silent

RATE, STEPS = 0.05, 3
FULL = ("train.mode=full", "wire.up=fp16")
Tensors = dict[str, Floats]


def config(folder: Path, **tables: Any) -> Config:
    """Full deltas of the tiny LM by plain SGD on all of a client's examples at once."""
    given: dict[str, dict[str, Any]] = {
        "run": {"rounds": 3, "export": "auto"},
        "train": {
            "mode": "full",
            "scaffold": True,
            "optimizer": "sgd",
            "learning_rate": RATE,
            "steps": STEPS,
            "batch": 1000,
            "clip_norm": 0.0,
        },
        "merge": {"weights": "uniform"},
        "wire": {"up": "fp32", "down": "fp32"},
        "eval": {"local": False},
    }
    for table, keys in tables.items():
        given[table] = given.get(table, {}) | keys
    made = tiny.lm_config(folder, **given)
    checks.check(made)
    return made


def accepted(made: Config) -> list[list[str]]:
    """Whose replies each round took."""
    rounds: dict[int, list[str]] = {}
    for line in lines(made, "contribution"):
        if line["verdict"] == "accepted":
            rounds.setdefault(line["round"], []).append(line["client"])
    return [sorted(rounds[number]) for number in sorted(rounds)]


def by_hand(made: Config, taken: list[list[str]]) -> tuple[Tensors, dict[str, Tensors]]:
    """Algorithm 1 of the paper, option II, with a server's step of 1.

    Returns:
        The model, and each client's control variate.
    """
    task = load(made)
    base = load_base(made, task.labels)
    rows = {n: base.network.rows(task.split(n)[0], made.train) for n in task.clients}
    x = {name: one.detach().clone() for name, one in base.dense.items()}
    c = {name: torch.zeros_like(one) for name, one in x.items()}
    own = {client: dict(c) for client in task.clients}
    for clients in taken:
        moved: list[dict[str, Any]] = []
        turned: list[dict[str, Any]] = []
        for client in clients:
            y = {name: one.clone() for name, one in x.items()}
            for _ in range(STEPS):
                for name, slope in slopes(base, y, rows[client], made).items():
                    y[name] = y[name] - RATE * (slope - own[client][name] + c[name])
            new = {
                name: own[client][name] - c[name] + (x[name] - y[name]) / (STEPS * RATE)
                for name in x
            }
            moved.append({name: y[name] - x[name] for name in x})
            turned.append({name: new[name] - own[client][name] for name in x})
            own[client] = new
        for name, value in x.items():
            x[name] = value + sum(one[name] for one in moved) / len(moved)
            c[name] = c[name] + sum(one[name] for one in turned) / len(own)
    arrays = {name: one.numpy() for name, one in x.items()}
    kept = {k: {name: v.numpy() for name, v in one.items()} for k, one in own.items()}
    return arrays, kept


def slopes(base: Base, y: Mapping[str, Any], rows: Any, made: Config) -> dict[str, Any]:
    """The gradient of the mean loss at y."""
    for name, one in base.dense.items():
        one.data = y[name].clone()
        one.requires_grad_(True)  # noqa: FBT003
    loss = base.network.loss(rows, made.train) / base.network.weigh(rows)
    found = torch.autograd.grad(loss, list(base.dense.values()))
    return dict(zip(base.dense, found, strict=True))


def variates(made: Config, client: str, number: int) -> Tensors:
    """What a client's store holds of its control variate."""
    home = Path(made.run.out) / "clients" / client
    (path,) = home.rglob(f"controls/{number:04d}.safetensors")
    return load_file(path)


@pytest.mark.parametrize("case", ["all", "two a round", "one is refused"])
def test_rounds_are_those_of_the_paper(tmp_path: Path, case: str) -> None:
    made = config(tmp_path, round={"clients": 2 if case == "two a round" else 0})
    refused: dict[tuple[str, int], Trick] = {}
    if case == "one is refused":
        refused = {("birch", 1): silent, ("dune", 2): silent}
    federate(made, refused)
    taken = accepted(made)
    sizes = {"all": [4, 4, 4], "two a round": [2, 2, 2], "one is refused": [3, 3, 4]}
    assert [len(one) for one in taken] == sizes[case]
    wanted, own = by_hand(made, taken)
    found = load_file(Path(made.run.out) / "model" / "model.safetensors")
    moved = load_base(made, load(made).labels).origin()
    for name, one in wanted.items():
        np.testing.assert_allclose(found[name], one, atol=2e-6)
        assert np.abs(one - moved[name]).max() > 1e-4
    for client in taken[-1]:
        kept = variates(made, client, len(taken))
        for name, one in own[client].items():
            np.testing.assert_allclose(kept[name], one, atol=2e-4)


def test_regions_add_variates_as_one_server_does(tmp_path: Path) -> None:
    found = []
    for tree in ("flat", "regions"):
        merge = {"tree": tree, "weights": "uniform"}
        made = config(tmp_path / tree, merge=merge, data={"regions": 2})
        federate(made)
        found.append([line["digest"] for line in lines(made, "release")])
    assert found[0] == found[1]
    assert len(set(found[0])) == made.run.rounds


@pytest.mark.parametrize("space", ["frozen-a", "core"])
def test_the_server_holds_the_mean_of_all_variates(tmp_path: Path, space: str) -> None:
    made = config(
        tmp_path,
        train={"mode": "lora", "clip_norm": 1.0, "batch": 8, "schedule": "linear"},
        lora={"space": space},
        wire={"up": "fp16", "down": "fp32"},
    )
    summary = federate(made)
    metrics = summary["metrics"]
    assert metrics["final"]["perplexity"] < metrics["base"]["perplexity"]
    base = load_base(made, load(made).labels)
    own = [variates(made, name, 3) for name in load(made).clients]
    controls = [n for n in base.update_layout().names if n.endswith(CONTROL)]
    assert controls
    assert {n.removesuffix(CONTROL) for n in controls} == set(own[0])
    tape = Recording.read(Path(made.run.out))
    with closing(Record(tmp_path / "more.jsonl")) as record:
        session = tape.session(base, made, record)
        updates(session, tape)
    for name in controls:
        mean = sum(one[name.removesuffix(CONTROL)] for one in own) / len(own)
        np.testing.assert_allclose(session.model.weights[name], mean, atol=1e-5)
        assert np.abs(mean).max() > 0


@pytest.mark.parametrize(
    ("said", "overrides"),
    [
        ("AdamW's steps do not tell", ["train.optimizer=adamw", "wire.up=fp16"]),
        ("same in every round", ["lora.space=product"]),
        ("same in every round", ["lora.space=frozen-a", "lora.init=round"]),
        ("merge.recipe", ["lora.space=core", "merge.recipe=ties(0.2)"]),
        ("merge.recipe", ["lora.space=core", "merge.recipe=clip(1.0) | fedavg"]),
        ("wire.up", ["lora.space=core", "wire.up=sign256"]),
        ("own loop", ["lora.space=core", "train.trainer=huggingface"]),
        ("gate.policy", ["gate.policy=report", *FULL]),
        ("round.mode", ["round.mode=async", *FULL]),
        ("round.late", ["round.late=keep", *FULL]),
    ],
)
def test_what_has_no_meaning_is_refused(said: str, overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match=said):
        configured(overrides=["train.scaffold=true", *overrides])


def test_what_follows_is_filled_in() -> None:
    tables: dict[str, Any] = {"train": {"scaffold": True, "mode": "full"}}
    defaults.fill(tables)
    assert tables["train"]["optimizer"] == "sgd"
    assert tables["wire"]["up"] == "fp16"

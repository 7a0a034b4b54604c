"""DP-SGD: one record's reach, the noise, the coins, and what is told."""

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedelta.client import clippings
from fedelta.client.accountants import Event, epsilon
from fedelta.client.adapters import Adapter, adapted
from fedelta.client.data import Examples, load
from fedelta.client.ledgers import Ledger
from fedelta.client.models import load_base, run_key
from fedelta.protocols.errors import BudgetError
from fedelta.protocols.plans import RoundPlan
from fedelta.protocols.secrets import Secret
from fedelta.protocols.settings import Config, Privacy
from tests import tiny
from tests.federations import federate, lines

pytestmark = pytest.mark.peer("opacus", "dp_accounting")
HIDDEN = Privacy("record", clip=0.1, noise_multiplier=1.0)


def text_run(folder: Path) -> Config:
    return replace(tiny.config(folder), privacy=HIDDEN)


def lm_run(folder: Path) -> Config:
    return replace(tiny.lm_config(folder), privacy=HIDDEN)


def short_run(folder: Path) -> Config:
    """The language model in bfloat16, as the preset has it."""
    config = lm_run(folder)
    return replace(config, model=replace(config.model, dtype="bfloat16"))


def opened(config: Config) -> tuple[Any, AbstractContextManager[Adapter], Examples]:
    task = load(config)
    base = load_base(config, task.labels)
    start = base.start(config, run_key(config), 1)
    return base, adapted(base, config, start), task.split(next(iter(task.clients)))[0]


def summed(adapter: Adapter, rows: Any, config: Config) -> Any:
    """The sum of clipped gradients of some rows, as the optimiser makes it."""
    import torch

    parameters: Any = list(adapter.parameters.values())
    network = adapter.base.network
    with clippings.sampled(network.parts, parameters):
        under = torch.optim.SGD(parameters, lr=1.0)
        made: Any = clippings.private(under, config, 1.0, Secret(bytes(32)))
        made.zero_grad()
        clippings.gradients(network, rows, parameters, config.train)
        made.clip_and_accumulate()
        return np.concatenate([one.summed_grad.numpy().ravel() for one in parameters])


@pytest.mark.parametrize("make", [text_run, lm_run, short_run])
def test_one_record_moves_the_sum_by_no_more_than_the_clip(
    tmp_path: Path, make: Any
) -> None:
    import torch

    config = make(tmp_path)
    base, context, own = opened(config)
    with context as adapter:
        for parameter in adapter.parameters.values():  # B must not be 0
            with torch.no_grad():
                parameter.add_(0.05)
        rows = list(base.network.rows(own, config.train))
        for clip in (0.1, 1e-3, 1e3):
            given = replace(config, privacy=replace(HIDDEN, clip=clip))
            without = summed(adapter, rows[:5], given)
            for extra in rows[5:9]:
                moved = summed(adapter, [*rows[:5], extra], given) - without
                assert np.linalg.norm(moved) <= clip * (1 + 1e-4)
                alone = np.linalg.norm(summed(adapter, [extra], given))
                assert np.linalg.norm(moved) == pytest.approx(alone, rel=0.02)
        nothing = summed(adapter, [], config)
        assert not nothing.any()


@pytest.mark.parametrize("make", [text_run, lm_run])
def test_unclipped_gradients_are_those_of_the_records_own_mean_losses(
    tmp_path: Path, make: Any
) -> None:
    import torch

    config = make(tmp_path)
    base, context, own = opened(config)
    with context as adapter:
        rows = list(base.network.rows(own, config.train))[:4]
        loud = replace(config, privacy=replace(HIDDEN, clip=1e6))
        found = summed(adapter, rows, loud)
        network = base.network
        for one in adapter.parameters.values():
            one.grad = None
        total: Any = sum(
            network.loss([row], config.train) / network.weigh([row]) for row in rows
        )
        torch.autograd.backward(total)
        held: Any = list(adapter.parameters.values())
        plain = [one.grad.numpy().ravel() for one in held]
        np.testing.assert_allclose(found, np.concatenate(plain), rtol=1e-3, atol=1e-5)
        for one in adapter.parameters.values():
            assert not hasattr(one, "grad_sample")
            one.grad = None


def test_a_record_that_is_not_finite_counts_for_nothing(tmp_path: Path) -> None:
    import torch

    parameter: Any = torch.nn.Parameter(torch.zeros(2))
    made: Any = clippings.private(
        torch.optim.SGD([parameter], lr=1.0),
        Config(privacy=replace(HIDDEN, noise_multiplier=0.0)),
        1.0,
        Secret(bytes(32)),
    )
    parameter.grad_sample = torch.tensor([[0.03, 0.04], [float("nan"), 1.0]])
    made.clip_and_accumulate()
    assert parameter.summed_grad.tolist() == pytest.approx([0.03, 0.04])


def test_noise_has_the_stated_deviation_and_comes_from_the_secret() -> None:
    import torch

    parameter: Any = torch.nn.Parameter(torch.zeros(300, 400))
    config = Config(privacy=replace(HIDDEN, clip=0.5, noise_multiplier=3.0))
    steps = []
    for secret in (bytes(32), bytes(32), b"1" * 32):
        under = torch.optim.SGD([parameter], lr=1.0)
        made: Any = clippings.private(under, config, 10.0, Secret(secret))
        found = []
        for _ in range(2):
            made.zero_grad()
            parameter.grad_sample = torch.zeros((0, 300, 400))
            made.pre_step()
            found.append(parameter.grad.numpy().copy())
        steps.append(found)
    assert steps[0][0].std() == pytest.approx(3.0 * 0.5 / 10.0, rel=0.01)
    assert (steps[0][0] == steps[1][0]).all()
    assert abs(np.corrcoef(steps[0][0].ravel(), steps[0][1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(steps[0][0].ravel(), steps[2][0].ravel())[0, 1]) < 0.02


def test_a_run_charges_every_institution_and_tells_no_losses(tmp_path: Path) -> None:
    config = tiny.config(
        tmp_path,
        merge={"weights": "uniform"},
        eval={"local": False},
        privacy={"mode": "record", "clip": 0.5, "noise_multiplier": 1.0},
    )
    summary = federate(config)
    told = lines(config, "contribution")
    assert len(told) == 8
    assert all(one["loss"] is None for one in told)
    folder = Path(config.run.out)
    public = {"epsilon", "steps", "examples", "wire_bits", "wire_energy"}
    assert all(set(one["metrics"]) <= public for one in told)
    last = [one for one in told if one["round"] == 2]
    spent = {one["client"]: one["metrics"]["epsilon"] for one in last}
    assert summary["privacy"]["epsilon"] == max(spent.values())
    assert summary["privacy"]["level"] == "record"
    name, value = next(iter(spent.items()))
    count = next(one["weight"] for one in last if one["client"] == name)
    chance = min(1.0, config.train.batch / count)
    assert value == epsilon([Event(1.0, chance, 2 * config.train.steps)], 1e-5)
    ledger = Ledger(folder / "clients" / name / "privacy" / "ledger.jsonl", 1e-5)
    assert ledger.count == 2
    assert ledger.spent == value


def plan(client: str = "a") -> RoundPlan:
    return RoundPlan(
        "00ff",
        1,
        client,
        "b" * 64,
        "c" * 64,
        0,
        (),
        "fedavg()",
        "product",
        "fp16",
        feedback=True,
        before="server",
    )


OWN = Examples(("x",) * 20, np.zeros(20, np.int64))


def test_a_round_under_other_settings_is_another_release_with_other_noise(
    tmp_path: Path,
) -> None:
    """Else a server that asks twice would see two trainings under the same noise."""
    config = text_run(tmp_path)
    ledger, drawn = tmp_path / "privacy" / "ledger.jsonl", []
    others = [
        config,
        config,
        replace(config, train=replace(config.train, learning_rate=0.5)),
        replace(config, privacy=replace(HIDDEN, clip=0.2)),
        replace(config, lora=replace(config.lora, alpha=1.0)),
        replace(config, run=replace(config.run, seed=9)),
    ]
    for count, asked in zip((1, 1, 2, 3, 4, 5), others, strict=True):
        made: Any = clippings.trainer(asked, plan(), tmp_path / "00ff", OWN)
        drawn.append(tuple(made.secret.normals("noise", 0, 4)))
        assert Ledger(ledger, 1e-5).count == count
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 5


def test_an_institution_whose_budget_is_spent_sends_nothing(tmp_path: Path) -> None:
    config = tiny.config(
        tmp_path,
        privacy={
            "mode": "record",
            "clip": 0.5,
            "noise_multiplier": 1.0,
            "epsilon": 0.01,
        },
    )
    with pytest.raises(BudgetError, match="nothing more is released"):
        clippings.trainer(config, plan(), tmp_path / "00ff", OWN)
    assert not (tmp_path / "privacy" / "ledger.jsonl").exists()

"""What recipes measure beside the change: right numbers, and rounds that use them."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from fedelta.aggregators.furthers import FISHER, GRAM
from fedelta.client import adapters, data, models, statistics, training
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config
from fedelta.protocols.vectors import Floats
from fedelta.server import checks
from tests.federations import federate

Mode = Literal["lora", "full"]


def asking(
    config: Config, recipe: str, mode: Mode = "full", up: str = "fp16"
) -> Config:
    return replace(
        config,
        train=replace(config.train, mode=mode, learning_rate=5e-4),
        lora=replace(config.lora, space="factors" if mode == "lora" else "product"),
        merge=replace(config.merge, recipe=recipe),
        wire=replace(config.wire, up=up),
    )


def found(config: Config, task: data.Task) -> tuple[models.Base, dict[str, Floats]]:
    base = models.load_base(config, task.labels)
    own, _ = task.split("client-00")
    start = base.start(config, 1, 1)
    with adapters.adapted(base, config, start) as adapter:
        training.TorchTrainer(config).train(adapter, own, 1)
        return base, statistics.measured(adapter, own, config, 3)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_fisher_is_the_mean_squared_gradient_by_example(
    config: Config, task: data.Task, mode: Mode
) -> None:
    asked = asking(config, "fisher", mode)
    base = models.load_base(asked, task.labels)
    own, _ = task.split("client-00")
    with adapters.adapted(base, asked, base.start(asked, 1, 1)) as adapter:
        training.TorchTrainer(asked).train(adapter, own, 1)
        measured = statistics.measured(adapter, own, asked, 3)
        rows = base.network.rows(own, asked.train)
        assert len(rows) <= statistics.MOST  # so that all are looked at
        for name in ("classifier.weight", *list(adapter.parameters)[:2]):
            parameter, total = adapter.parameters[name], 0.0
            for row in rows:
                parameter.grad = None
                torch.autograd.backward(base.network.loss([row], asked.train))
                assert parameter.grad is not None
                total = total + parameter.grad.double() ** 2
            wanted = torch.as_tensor(total / len(rows)).numpy()
            np.testing.assert_allclose(measured[name + FISHER], wanted, rtol=1e-4)
    names = tuple(sorted(measured.keys() | adapter.parameters.keys()))
    assert base.layout(asked).names == names
    assert not any(FISHER in name for name in base.update_layout().names)


def test_gram_is_of_a_layers_inputs(config: Config, task: data.Task) -> None:
    asked = asking(config, "regmean")
    base, measured = found(asked, task)
    assert measured
    layout = base.layout(asked)
    for name, gram in measured.items():
        assert layout.shapes[layout.place(name)] == gram.shape
        np.testing.assert_allclose(gram, gram.T, rtol=1e-5, atol=1e-6)
        assert np.linalg.eigvalsh(gram.astype(float)).min() > -1e-4
    own, _ = task.split("client-00")
    query = "encoder.layer.0.attention.self.query.weight"
    layer, heard = base.network.body.get_submodule(query[:-7]), []
    handle = layer.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    start = base.start(asked, 1, 1)
    with adapters.adapted(base, asked, start) as adapter:
        training.TorchTrainer(asked).train(adapter, own, 1)
        heard.clear()
        for row in base.network.rows(own, asked.train):
            with torch.no_grad():
                base.network.loss([row], asked.train)
    handle.remove()
    flat = torch.cat([one.reshape(-1, one.shape[-1]) for one in heard]).double()
    wanted = (flat.T @ flat / len(flat)).numpy()
    np.testing.assert_allclose(measured[query + GRAM], wanted, rtol=1e-4, atol=1e-5)


def test_other_recipes_measure_nothing(config: Config, task: data.Task) -> None:
    base, measured = found(asking(config, "fedavg"), task)
    assert not measured
    assert not any("|" in name for name in base.layout(config).names)


@pytest.mark.parametrize(
    ("recipe", "mode", "space"),
    [
        ("fisher", "lora", "factors"),
        ("fisher", "lora", "frozen-a"),
        ("fisher", "full", ""),
        ("regmean", "full", ""),
    ],
)
def test_rounds_merge_by_what_clients_measured(
    config: Config, recipe: str, mode: Mode, space: Any, tmp_path: Path
) -> None:
    asked = asking(config, recipe, mode)
    asked = replace(asked, run=replace(asked.run, out=str(tmp_path / "run"), rounds=2))
    if space:
        asked = replace(asked, lora=replace(asked.lora, space=space))
    checks.check(asked)
    summary = federate(asked)
    plain = asking(config, "fedavg", mode)
    plain = replace(plain, run=replace(plain.run, out=str(tmp_path / "mean"), rounds=2))
    other = federate(plain)
    assert summary["model_digest"] != other["model_digest"]
    gained = summary["metrics"]["final"]["accuracy"]
    assert gained > other["metrics"]["base"]["accuracy"]


@pytest.mark.parametrize("up", ["sign256", "sparse(density=0.05)", "auto"])
def test_a_format_that_loses_them_is_refused(config: Config, up: str) -> None:
    with pytest.raises(ConfigError, match="beside their changes"):
        checks.check(asking(config, "fisher", up=up))

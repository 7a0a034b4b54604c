"""Training: it learns, it repeats itself, it leaves the base as it was."""

import math
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from fedelta.client import adapters, data, evaluation, models, training
from fedelta.protocols import digests
from fedelta.protocols.errors import BoundsError
from fedelta.protocols.settings import Config, Run, Train
from fedelta.protocols.vectors import Floats
from tests import tiny
from tests.client.scores import predict


def trained(
    base: models.Base, task: data.Task, config: Config, key: int = 1, steps: int = 0
) -> tuple[dict[str, Floats], dict[str, float]]:
    """What one client's training changes, and its metrics."""
    own, _ = task.split("client-00")
    start = base.start(config, models.run_key(config), 1)
    with adapters.adapted(base, config, start) as adapter:
        metrics = training.TorchTrainer(config, steps).train(adapter, own, key)
        return adapter.change(), metrics


def test_training_lowers_the_loss(
    base: models.Base, task: data.Task, config: Config
) -> None:
    own, _ = task.split("client-00")
    before = evaluation.evaluate(base, own, config)["loss"]
    start = base.start(config, models.run_key(config), 1)
    with adapters.adapted(base, config, start) as adapter:
        training.TorchTrainer(config, 30).train(adapter, own, 1)
        after = evaluation.evaluate(base, own, config)["loss"]
    assert after < 0.7 * before


def test_the_base_keeps_every_byte(
    base: models.Base, task: data.Task, config: Config
) -> None:
    before = digests.of_tensors(base.tensors())
    modules = [name for name, _ in base.network.body.named_modules()]
    trained(base, task, config)
    assert digests.of_tensors(base.tensors()) == before
    assert [name for name, _ in base.network.body.named_modules()] == modules
    assert not any(p.requires_grad for p in base.network.body.parameters())


def test_a_training_that_fails_leaves_the_base_whole(
    base: models.Base, task: data.Task, config: Config
) -> None:
    before = digests.of_tensors(base.tensors())
    wild = replace(
        config, train=replace(config.train, learning_rate=1e30, clip_norm=0.0)
    )
    with pytest.raises(BoundsError, match="not a number"):
        trained(base, task, wild, steps=20)
    assert digests.of_tensors(base.tensors()) == before


def test_the_same_key_gives_the_same_bytes(
    base: models.Base, task: data.Task, config: Config
) -> None:
    first, _ = trained(base, task, config)
    again, _ = trained(base, task, config)
    other, _ = trained(base, task, config, key=2)
    assert digests.of_tensors(first) == digests.of_tensors(again)
    assert digests.of_tensors(first) != digests.of_tensors(other)


def test_a_fresh_process_gives_the_same_bytes(
    base: models.Base, task: data.Task, config: Config, folder: Path
) -> None:
    change, _ = trained(base, task, config)
    code = (
        "import sys; from pathlib import Path\n"
        "from fedelta.client import data, models\n"
        "from fedelta.protocols import digests\n"
        "from tests import tiny\n"
        "from tests.client.test_training import trained\n"
        "config = tiny.config(Path(sys.argv[1])); task = data.load(config)\n"
        "base = models.load_base(config, task.labels)\n"
        "print(base.digest, digests.of_tensors(trained(base, task, config)[0]))\n"
    )
    root = Path(tiny.__file__).parent.parent
    said = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.split() == [base.digest, digests.of_tensors(change)]


def test_what_travels_is_the_change(
    base: models.Base, task: data.Task, config: Config
) -> None:
    change, metrics = trained(base, task, config)
    layout = base.layout(config)
    assert tuple(sorted(change)) == layout.names
    assert all(np.abs(change[name]).max() > 0 for name in layout.names)
    assert np.abs(change["classifier.weight"]).max() < 0.5
    assert metrics["steps"] == config.train.steps


def test_folding_equals_the_adapter(
    base: models.Base, task: data.Task, config: Config
) -> None:
    texts = task.test.texts
    own, _ = task.split("client-01")
    start = base.start(config, models.run_key(config), 1)
    untouched = predict(base, texts, config)
    with adapters.adapted(base, config, start) as adapter:
        training.TorchTrainer(config).train(adapter, own, 5)
        with_adapter = predict(base, texts, config)
        change = adapter.change()
    update = dict(change)
    for pair in base.pairs(config):
        update[pair.a] = np.float32(pair.scaling) * (start[pair.a] + change[pair.a])
    base.fold(update, "a")
    folded = predict(base, texts, config)
    np.testing.assert_allclose(folded, with_adapter, atol=2e-4)
    assert np.abs(with_adapter - untouched).max() > 0.01


def test_prox_pulls_back(base: models.Base, task: data.Task, config: Config) -> None:
    near = replace(config, train=replace(config.train, prox_mu=50.0))
    free, _ = trained(base, task, config, steps=15)
    held, _ = trained(base, task, near, steps=15)
    assert norm(held) < 0.8 * norm(free)


def norm(change: dict[str, Floats]) -> float:
    """L2 norm of B and the head, which start at their origin."""
    return math.sqrt(sum(float(np.square(one).sum()) for one in change.values()))


def test_sgd_and_schedules_train(
    base: models.Base, task: data.Task, config: Config
) -> None:
    for schedule in ("linear", "cosine"):
        train = replace(
            config.train, optimizer="sgd", schedule=schedule, warmup=0.25,
            learning_rate=0.5,
        )  # fmt: skip
        change, _ = trained(base, task, replace(config, train=train), steps=8)
        assert norm(change) > 0


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_rates_warm_up_and_never_rise_again(schedule: str) -> None:
    settings = Train(schedule=schedule, warmup=0.2)  # type: ignore[arg-type]
    rates = [training.rate(settings, step, 20) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert min(rates) > 0


def test_rslora_scales_by_the_root(base: models.Base, config: Config) -> None:
    rooted = replace(config, lora=replace(config.lora, scaling="rslora", rank=4))
    assert {pair.scaling for pair in base.pairs(rooted)} == {config.lora.alpha / 2}
    start = base.start(rooted, 1, 1)
    with adapters.adapted(base, rooted, start) as adapter:
        layer = base.network.body.get_submodule("encoder.layer.0.attention.self.query")
        scaling: Any = layer.scaling
        assert scaling["default"] == pytest.approx(config.lora.alpha / 2)
        assert set(adapter.parameters) == set(base.layout(rooted).names)


def test_the_global_generator_is_left_alone(
    base: models.Base, task: data.Task, config: Config
) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    trained(base, task, config)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_rounds_fade_to_almost_nothing_and_one_long_training_alike(
    decay: Literal["linear", "cosine"],
) -> None:
    config = Config(run=Run(rounds=5), train=Train(decay=decay))
    peaks = [
        training.in_round(config, number).train.learning_rate for number in range(1, 6)
    ]
    assert peaks[0] == config.train.learning_rate
    assert all(left > right for left, right in pairwise(peaks))
    assert peaks[-1] <= peaks[0] / 5
    assert training.alone(config).train.schedule == decay
    assert training.alone(Config()) == Config()

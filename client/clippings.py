"""Training that hides every single record: DP-SGD, by Opacus.

Abadi et al., `Deep Learning with Differential Privacy
<https://arxiv.org/abs/1607.00133>`_, 2016. In each step every record is drawn by a coin
of its own; the gradient of its own loss is clipped; noise is added to the sum, which is
divided by the expected number of records. Coins and noise come from a secret of the
institution's. All that leaves is computed from what is noisy.
"""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..protocols import digests, disks
from ..protocols.errors import ConfigError
from ..protocols.plans import RoundPlan
from ..protocols.secrets import SIZE, Secret, fresh
from ..protocols.settings import Config
from . import trainers
from .accountants import Event
from .adapters import Adapter
from .data import Examples
from .ledgers import FILE, Charge, Ledger
from .training import Trainer, in_round, optimiser, rate

if TYPE_CHECKING:
    from torch import nn, optim

FOLDER = "privacy"


@dataclass(frozen=True, slots=True)
class RecordTrainer:
    """Our loop with clipped gradients and noise.

    Attributes:
        config: its [train] and [privacy] tables say how.
        secret: what this round's coins and noise are drawn from.
        spent: epsilon of all that was charged, with this round.
    """

    config: Config
    secret: Secret
    spent: float

    def train(self, adapter: Adapter, examples: Examples, key: int) -> dict[str, float]:  # noqa: ARG002
        """Train an adapter in place; nothing of the losses is told.

        Returns:
            "steps", and "epsilon", which follow from numbers that are public.
        """
        settings, network = self.config.train, adapter.base.network
        rows = network.rows(examples, settings)
        chance = sampling(self.config, len(rows))
        parameters = list(adapter.parameters.values())
        with sampled(network.parts, parameters):
            made = self._optimiser(parameters, max(1.0, chance * len(rows)))
            for step in range(settings.steps):
                for group in made.param_groups:
                    share = rate(settings, step, settings.steps)
                    group["lr"] = settings.learning_rate * share
                coins = self.secret.of("sample").uniform(step, len(rows))
                drawn = [
                    row for row, coin in zip(rows, coins, strict=True) if coin < chance
                ]
                made.zero_grad()
                gradients(network, drawn, parameters, settings)
                made.step()
        return {"steps": float(settings.steps), "epsilon": self.spent}

    def _optimiser(
        self, parameters: "list[nn.Parameter]", expected: float
    ) -> "optim.Optimizer":
        return private(
            optimiser(self.config.train, parameters), self.config, expected, self.secret
        )


def trainer(config: Config, plan: RoundPlan, home: Path, examples: Examples) -> Trainer:
    """Who trains in a round; where records are to be hidden, charge it first.

    Args:
        config: the run's, as this client sees it.
        plan: the round's; the same plan again is the same release.
        home: the client's folder of the run; the ledger beside it counts all runs.
        examples: the records; how many there are is public.

    Raises:
        BudgetError: the round would exceed the budget.
        ConfigError: Opacus or the accountant is not installed.
    """
    given = config.privacy
    if given.mode != "record":
        return trainers.trainer(in_round(config, plan.round))
    if find_spec("opacus") is None:
        raise ConfigError('privacy.mode = "record": pip install "fedelta[privacy]"')
    home = home.parent / FOLDER
    ledger = Ledger(home / FILE, given.delta, given.epsilon)
    subject = _subject(config, plan, examples)
    chance = sampling(config, len(examples))
    steps = config.train.steps_in(plan.round)
    event = Event(given.noise_multiplier, chance, steps)
    spent = ledger.charge(Charge("record", plan.round, subject, event))
    config = in_round(config, plan.round)
    return RecordTrainer(config, secret(home).of("record", subject), spent)


def _subject(config: Config, plan: RoundPlan, examples: Examples) -> str:
    """What noise is drawn for: anything else that training hangs on, other noise.

    Two trainings under the same noise would differ by what it hides, so a server that
    asks for the same round under other settings gets noise of its own, and is charged.
    """
    data = [list(examples.texts), examples.labels.tolist()]
    asked = [plan.run, plan.client, plan.round, plan.base, plan.accepted]
    whole = asdict(config)
    how = {name: whole[name] for name in ("model", "train", "lora", "privacy")}
    return digests.of_bytes(json.dumps([*asked, config.run.seed, how, data]).encode())


def sampling(config: Config, records: int) -> float:
    """The chance of each record to be in a step.

    Example:
        >>> from fedelta.protocols.settings import Config, Train
        >>> sampling(Config(train=Train(batch=8)), 32)
        0.25
    """
    return min(1.0, config.train.batch / max(1, records))


def gradients(
    network: Any, rows: Sequence[Any], parameters: "list[nn.Parameter]", settings: Any
) -> None:
    """Leave each record's own gradient in every parameter's `grad_sample`."""
    import torch

    if not rows:
        for one in parameters:
            one.grad_sample = torch.zeros((0, *one.shape))  # type: ignore[attr-defined]
        return
    with warnings.catch_warnings():  # the first layer's inputs are no one's parameters
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        torch.autograd.backward(network.record_loss(rows, settings))
    for one in parameters:
        if getattr(one, "grad_sample", None) is None:  # no record's loss hangs on it
            one.grad_sample = torch.zeros((len(rows), *one.shape))  # type: ignore[attr-defined]


def private(
    under: "optim.Optimizer", config: Config, expected: float, secret: Secret
) -> "optim.Optimizer":
    """Opacus's optimiser with our noise; it leaves out records that are not finite."""
    import torch
    from opacus.optimizers import DPOptimizer

    class Sealed(DPOptimizer):  # type: ignore[misc]
        """Noise is drawn from a secret; every draw has a place of its own."""

        drawn = 0

        def clip_and_accumulate(self) -> None:
            """Clip; a record whose gradient is not finite counts for nothing.

            Norms are taken in float32: in bfloat16 they may be short by a 500th.
            """
            fine = torch.stack(
                [torch.isfinite(g.flatten(1)).all(1) for g in self.grad_samples]
            ).all(0)
            for one in self.params:
                mask = fine.reshape(-1, *[1] * (one.grad_sample.dim() - 1))
                zero = torch.zeros(())
                one.grad_sample = torch.where(mask, one.grad_sample.float(), zero)
            super().clip_and_accumulate()

        def add_noise(self) -> None:
            """Add noise in float64, parameter by parameter."""
            deviation = self.noise_multiplier * self.max_grad_norm
            for one in self.params:
                made = secret.normals("noise", self.drawn, one.numel())
                noise = torch.from_numpy(deviation * made).reshape(one.shape)
                one.grad = (one.summed_grad.double() + noise).to(one.dtype)
                self.drawn += 1

    return Sealed(
        under,
        noise_multiplier=config.privacy.noise_multiplier,
        max_grad_norm=config.privacy.clip,
        expected_batch_size=expected,
        loss_reduction="mean",
    )


@contextmanager
def sampled(
    parts: "Sequence[nn.Module]", parameters: "Sequence[nn.Parameter]"
) -> Iterator[None]:
    """Gradients are taken record by record within; afterwards all is as it was."""
    import torch
    from opacus import GradSampleModule

    whole = torch.nn.ModuleList(parts)
    wanted = {id(one) for one in parameters}
    owners = [
        module
        for module in whole.modules()
        if any(id(one) in wanted for one in module.parameters(recurse=False))
    ]
    modes = [module.training for module in owners]
    for module in owners:
        module.training = True  # only then does Opacus look; they hold no dropout
    made = GradSampleModule(whole, loss_reduction="sum", strict=False)
    try:
        yield
    finally:
        made.remove_hooks()
        for module, mode in zip(owners, modes, strict=True):
            module.training = mode
        for one in whole.parameters():
            for name in ("grad_sample", "summed_grad", "_forward_counter"):
                if hasattr(one, name):
                    delattr(one, name)


def secret(home: Path) -> Secret:
    """The institution's secret, kept in its folder for its user alone."""
    path = home / "secret"
    if not path.exists() or path.stat().st_size != SIZE:
        disks.write(path, fresh(), private=True)
    return Secret(path.read_bytes())

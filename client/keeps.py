"""What of a round stays at the client: its own factors, and its control variate.

Like what a wire format took away, both count once the server says that it accepted
the round's reply; after a refused, late or lost one the client goes on from what it
had before.

Control variates are SCAFFOLD's, option II: every gradient is corrected by ``c - c_k``,
and after a round that moved from x to y_k

    c_k+ = c_k - c + (x - y_k) / (sum of the steps' learning rates)

What travels is ``c_k+ - c_k``, as further tensors ``NAME|control``, and c_k moves by
what the server gets of it: c stays the mean of all c_k whatever the format rounds.

Source: Karimireddy et al., `SCAFFOLD <https://arxiv.org/abs/1910.06378>`_, 2020,
algorithm 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..aggregators.furthers import CONTROL
from ..protocols.plans import RoundPlan
from ..protocols.settings import Config
from ..protocols.vectors import Floats
from . import stores, training
from .layouts import personal
from .models import Base

Tensors = Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Keeps:
    """One client's keeps in one round.

    Attributes:
        config: as the client sees it.
        plan: the round's.
        factors: the factors of its own that it starts from; none: from zero.
        controls: its control variate c_k; none: zero.
        common: c, by the tensors' names.
        folder: where it keeps its state of the run.
        base: digest of the base model before any update.
    """

    config: Config
    plan: RoundPlan
    factors: Tensors
    controls: Tensors
    common: Tensors
    folder: Path
    base: str

    @classmethod
    def opened(
        cls, config: Config, plan: RoundPlan, folder: Path, base: Base
    ) -> "Keeps":
        """What the last accepted round left, and c of the version that the plan names.

        Raises:
            CheckpointError: a file of it is damaged.
        """
        factors: Tensors = {}
        controls: Tensors = {}
        common: Tensors = {}
        if personal(config):
            store = stores.Kept(folder, "factors", plan, base.digest)
            factors = store.committed(plan.accepted)
        if config.train.scaffold:
            store = stores.Kept(folder, "controls", plan, base.digest)
            controls = store.committed(plan.accepted)
            common = {
                name.removesuffix(CONTROL): value
                for name, value in base.weights().items()
                if name.endswith(CONTROL)
            }
        return cls(config, plan, factors, controls, common, folder, base.digest)

    def correction(self) -> dict[str, Floats]:
        """By name c - c_k, to be added to every gradient; none without variates."""
        return {name: c - self._own(name, c) for name, c in self.common.items()}

    def further(self, change: Tensors) -> dict[str, Floats]:
        """The c_k+ - c_k that travels, from how far the round's training went.

        Args:
            change: y_k - x, by name, as training left it.
        """
        way = training.way(self.config, self.plan.round)
        return {
            name + CONTROL: -c - change[name] / np.float32(way)
            for name, c in self.common.items()
        }

    def keep(self, own: Tensors, sent: Tensors) -> None:
        """Store what this round makes of it.

        Args:
            own: the client's own factors, as training left them.
            sent: what the server reads of the reply.
        """
        plan = self.plan
        if personal(self.config):
            store = stores.Kept(self.folder, "factors", plan, self.base)
            store.keep(plan.round, dict(own))
        if self.config.train.scaffold:
            moved = {
                name: self._own(name, c) + sent[name + CONTROL]
                for name, c in self.common.items()
            }
            store = stores.Kept(self.folder, "controls", plan, self.base)
            store.keep(plan.round, moved)

    def _own(self, name: str, like: Floats) -> Floats:
        return self.controls[name] if name in self.controls else np.zeros_like(like)

"""Where factors start, and what an update to some of them means for the weights.

All of it follows from shapes and the run's seed, alike for everybody: no model is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..aggregators.factors import A_NAME, B_NAME
from ..protocols import seeds
from ..protocols.settings import Config, Lora
from ..protocols.vectors import Floats, Pair
from .layouts import CORE, CORE_NAME, FROZEN, SHARED, SHARED_NAME, renamed


def run_key(config: Config) -> int:
    """What a run's random starts are keyed by: its seed alone.

    So runs that differ in their merge or their wire start alike, and can be compared.
    """
    return seeds.key("run", config.run.seed)


def scaling(lora: Lora) -> float:
    """What a product of factors counts with: alpha / r, or alpha / sqrt(r).

    Example:
        >>> scaling(Lora(rank=4, alpha=8.0)), scaling(Lora(4, 8.0, scaling="rslora"))
        (2.0, 4.0)
    """
    return lora.alpha / (lora.rank if lora.scaling == "lora" else lora.rank**0.5)


@dataclass(frozen=True, slots=True)
class Starts:
    """The factors of a run's targets before anybody trained them.

    Attributes:
        targets: [out, in] of the layers that adapters go into, by name.
        lora: the run's.
        key: `run_key` of the run.
    """

    targets: Mapping[str, tuple[int, int]]
    lora: Lora
    key: int

    def modules(self, config: Config) -> tuple[Pair, ...]:
        """The pair of every target module, in name order, whatever of it travels."""
        return tuple(
            Pair(
                f"{module}.weight",
                module + A_NAME,
                module + B_NAME,
                scaling(config.lora),
            )
            for module in sorted(self.targets)
        )

    def pairs(self, config: Config) -> tuple[Pair, ...]:
        """The pairs of a reply: none where one factor, or neither, ever travels."""
        return () if self.lora.space in (SHARED, CORE) else self.modules(config)

    def drawn(self, lora: Lora, number: int) -> dict[str, Floats]:
        """A by name, [r, in] each: Kaiming-uniform; B starts at zero.

        Args:
            lora: whose rank, and whether A is drawn once a "run" or anew each "round".
            number: the round, counted from 1.
        """
        when = number if lora.init == "round" else 0
        found: dict[str, Floats] = {}
        for module, (_, deep) in self.targets.items():
            key = seeds.key("lora", self.key, module, when)
            flat = seeds.uniform(key, 0, lora.rank * deep)
            bound = deep**-0.5
            values = ((2.0 * flat - 1.0) * bound).astype(np.float32)
            found[module + A_NAME] = values.reshape(lora.rank, deep)
        return found

    def framed(self, number: int) -> dict[str, Floats]:
        """A [r, in] and B [out, r] by name, between which a core is trained.

        A has orthonormal rows and B orthonormal columns, so that an average of cores
        is the average of the products, and as near to each other as they are. (Fed-SB
        takes them from an SVD of gradients, which asks a round more of all clients.)
        """
        when = number if self.lora.init == "round" else 0
        rank, found = self.lora.rank, dict[str, Floats]()
        for module, (wide, deep) in self.targets.items():
            key = seeds.key("core", self.key, module, when)
            found[module + B_NAME] = _orthonormal(seeds.key(key, "B"), wide, rank)
            found[module + A_NAME] = _orthonormal(seeds.key(key, "A"), deep, rank).T
        return found

    def shared(self) -> dict[str, Floats]:
        """What the A that all share starts as, by the name that it travels under."""
        if self.lora.space != SHARED:
            return {}
        drawn = self.drawn(self.lora, 1)
        return {renamed(name, SHARED_NAME): a for name, a in drawn.items()}

    def completed(
        self, update: Mapping[str, Floats], number: int
    ) -> Mapping[str, Floats]:
        """An update as it is folded: with the factors that did not travel.

        Args:
            update: what a merged update's bytes decode to.
            number: the round that it ends, counted from 1.
        """
        if not self.targets:
            return update
        if self.lora.space == FROZEN:
            return {**update, **self.drawn(self.lora, number)}
        if self.lora.space != CORE:
            return update
        found, frame = dict(update), self.framed(number)
        times = np.float32(scaling(self.lora))
        for module in self.targets:
            b, core = frame[module + B_NAME], found.pop(module + CORE_NAME)
            found[module + B_NAME] = times * (b @ core)
            found[module + A_NAME] = frame[module + A_NAME]
        return found


def _orthonormal(key: int, rows: int, columns: int) -> Floats:
    """[rows, columns], Q of what is drawn, with R's diagonal above 0."""
    flat = seeds.normal(key, 0, rows * columns)
    q, r = np.linalg.qr(flat.reshape(rows, columns))
    return np.ascontiguousarray(q * np.sign(np.diag(r)), np.float32)

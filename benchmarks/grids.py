"""The federations that `quality.py` compares: formats, recipes, optimisers."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

SGD_RATE = 0.3
"""What SGD learns at on the encoder preset; AdamW at the preset's own rate."""
TEXTS = 1000
"""How many test texts a federation is judged on."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One federation of the grid: what differs from the encoder preset.

    Attributes:
        up, down: wire formats, or "budget=6kB".
        rank_down: rank of merged updates; 0: four times the adapters'.
        feedback: whether what formats take away is sent later.
        recipe: the merge.
        space: what is merged.
        optimizer: the clients'.
        seed: of everything random.
        rank: of the adapters; 0: the preset's.
        rate: learning rate; 0: the preset's.
    """

    up: str
    down: str = "fp16"
    rank_down: int = 0
    feedback: bool = True
    recipe: str = "fedavg()"
    space: str = "product"
    optimizer: str = "adamw"
    seed: int = 0
    rank: int = 0
    rate: float = 0.0

    @property
    def key(self) -> dict[str, Any]:
        """What a result is found by."""
        return asdict(self)

    @property
    def sets(self) -> list[str]:
        """As settings of a run."""
        found = [
            *_format("up", self.up),
            *_format("down", self.down),
            f"lora.rank_down={self.rank_down}",
            f"lora.space={self.space}",
            f"wire.feedback={str(self.feedback).lower()}",
            f"merge.recipe={self.recipe}",
            f"run.seed={self.seed}",
            f"train.optimizer={self.optimizer}",
            f"data.test_examples={TEXTS}",
            "eval.local=false",
            "eval.every=1000",
        ]
        rate = self.rate or (SGD_RATE if self.optimizer == "sgd" else 0.0)
        found += [f"train.learning_rate={rate}"] if rate else []
        return found + ([f"lora.rank={self.rank}"] if self.rank else [])


def _format(way: str, text: str) -> list[str]:
    if text.startswith("budget="):
        return [f"wire.{way}=auto", f"wire.{way}_bytes={text.removeprefix('budget=')}"]
    return [f"wire.{way}={text}"]


DENSE = Cell("fp32", "fp32")
PRESET = "sparse(density=0.4, values='sign256')"
SIGNS = "masked(density={}, values='sign256')"

DOWNS = (
    ("fp16", 0),
    ("sign256", 8),
    ("int4", 8),
    ("int4", 4),
    ("int4", 2),
    ("int4", 0),
    ("sign256", 0),
    ("fp8", 8),
    ("sparse(density=0.3, values='int4')", 8),
    (SIGNS.format(0.25), 8),
)
"""Formats of the way down, and the update's rank."""
UPS = (
    "sign256",
    "sparse(density=0.05)",
    "sparse(density=0.2)",
    "int4",
    "sparse(density=0.05, values='sign256')",
    "masked(density=0.25, values='sign256')",
    "dare(density=0.25, values='fp8')",
    "budget=11kB",
    "budget=3kB",
    "sparse(density=0.01)",
)
"""Formats of the way up, from a third of a bit to four bits an element."""
BOTH = (
    ("fp32", "fp32"),
    ("sign256", "sign256"),
    (SIGNS.format(0.5), SIGNS.format(0.5)),
)
"""Formats both ways where A is drawn and never trained: half the elements."""
RECIPES = ("ties(density=0.5)", "dare(density=0.5)")
FROZEN = Cell("sign256", "sign256", space="frozen-a")


def cells() -> Iterator[Cell]:
    """All of them, what tells most first."""
    yield DENSE
    yield from (Cell(PRESET, down, rank) for down, rank in DOWNS[:3])
    yield from (Cell(up, down, space="frozen-a") for up, down in BOTH)
    yield from (Cell(PRESET, down, rank) for down, rank in DOWNS[3:5])
    yield replace(FROZEN, rate=6e-3)
    yield replace(FROZEN, rank=4)
    yield replace(FROZEN, up="fp32", down="fp32", rate=6e-3)
    yield replace(FROZEN, rank=4, rate=6e-3)
    yield replace(DENSE, rate=6e-3)
    yield replace(FROZEN, rank=2, rate=6e-3)
    yield from (replace(cell, seed=seed) for cell in FEW[:2] for seed in range(3))
    yield replace(DENSE, rate=8e-3)
    yield Cell(PRESET, recipe=RECIPES[0])
    pairs = [(up, one) for up in UPS[:3] for one in ("adamw", "sgd")]
    yield from (Cell("fp32", optimizer=one) for one in ("adamw", "sgd"))
    yield from (Cell(up, optimizer=one) for up, one in pairs)
    yield from (Cell(PRESET, "int4", 4, recipe=recipe) for recipe in RECIPES)
    yield from (Cell(up, feedback=False, optimizer=one) for up, one in pairs)
    yield Cell(PRESET, feedback=False)
    yield from (replace(DENSE, rate=8e-3, seed=seed) for seed in (1, 2))
    yield from (Cell(up) for up in UPS[3:])
    yield from (replace(FEW[2], seed=seed) for seed in range(3))
    yield from (Cell(PRESET, recipe=recipe) for recipe in RECIPES)
    yield from (Cell(up, optimizer="sgd") for up in UPS[3:])
    yield from (Cell(PRESET, down, rank) for down, rank in DOWNS[5:])


FEW = (DENSE, replace(FROZEN, rank=2, rate=8e-3), Cell(PRESET, "int4", 4))
"""The reduced form, a few minutes."""

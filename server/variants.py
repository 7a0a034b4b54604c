"""Other ways to merge what a run's clients sent."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from ..aggregators.recipes import SPACES, properties, recipe
from ..protocols.errors import ConfigError
from ..protocols.settings import Config, Gate

_APART = {"frozen-a": "frozen-a", "core": "core", "share-a": "share-a"}
"""Spaces whose replies hold other tensors than those of any other space."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to merge a run's replies again.

    Attributes:
        recipe: the recipe's text.
        space: the space that it merges in.
    """

    recipe: str
    space: str

    @classmethod
    def read(cls, text: str, space: str) -> "Variant":
        """Read ``RECIPE`` or ``RECIPE @ SPACE``.

        Args:
            text: such as "ties(density=0.2)" or "fedavg @ factors".
            space: the run's, where the text names none.

        Raises:
            ConfigError: no such recipe or space, or they do not go together.

        Example:
            >>> Variant.read("fedavg @ factors", "product").name
            'fedavg-factors'
        """
        head, at, tail = text.rpartition("@")
        chosen = (head if at else tail).strip()
        where = tail.strip() if at else space
        if where not in SPACES:
            raise ConfigError(
                f"--recipe {text!r}: after @ stands a space: {', '.join(SPACES)}"
            )
        properties(recipe(chosen), where)
        return cls(chosen, where)

    @property
    def name(self) -> str:
        """As a folder is called."""
        words = re.findall(r"[A-Za-z0-9_.]+", self.recipe)
        return "-".join([*words, *([] if self.space == "product" else [self.space])])

    def of(self, config: Config, out: Path) -> Config:
        """A run's settings, merged this way."""
        return replace(
            config,
            run=replace(config.run, name=self.name, out=str(out)),
            merge=replace(config.merge, recipe=self.recipe, server_optimizer=""),
            lora=replace(config.lora, space=cast("Any", self.space)),
            gate=Gate(),
        )


def alike(config: Config, variants: Sequence[Variant]) -> None:
    """See that replies hold what a space merges: one A for all, or one each."""
    here = config.lora.space
    for one in variants:
        if config.train.mode == "lora" and _APART.get(one.space) != _APART.get(here):
            raise ConfigError(
                f"replies of {here} cannot be merged in {one.space}: factors travel "
                "otherwise there"
            )
    if config.train.mode == "lora" and here == "share-a":
        raise ConfigError(
            'a run with lora.space = "share-a" cannot be replayed: its clients\' own '
            "factors are not here to judge a merge with"
        )

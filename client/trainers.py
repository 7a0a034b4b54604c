"""Which `Trainer` a run uses: ours, the one of transformers, or one's own.

A package of the data owner's registers its own by an entry point, so that what a
coordinator's configuration names can only be what the owner installed::

    [project.entry-points."fedelta.trainers"]
    mine = "my_package.training:MyTrainer"

It is called with the configuration and the number of steps, as `TorchTrainer` is.
"""

from collections.abc import Callable
from importlib.metadata import entry_points

from ..aggregators.extensions import load
from ..protocols.errors import ConfigError
from ..protocols.settings import Config
from .training import TorchTrainer, Trainer

GROUP = "fedelta.trainers"
HUGGING_FACE = "huggingface"

Maker = Callable[[Config, int], Trainer]


def trainer(config: Config, steps: int = 0) -> Trainer:
    """The trainer that ``train.trainer`` names.

    Args:
        config: the run's.
        steps: optimiser steps; 0: ``train.steps``.

    Raises:
        ConfigError: there is none of that name here.

    Example:
        >>> type(trainer(Config())).__name__
        'TorchTrainer'
    """
    name = config.train.trainer
    if not name:
        return TorchTrainer(config, steps)
    if name == HUGGING_FACE:
        from .huggingface import HuggingFaceTrainer

        return HuggingFaceTrainer(config, steps)
    found = {one.name: one for one in entry_points(group=GROUP)}
    if name not in found:
        allowed = ", ".join(["empty", HUGGING_FACE, *sorted(found)])
        raise ConfigError(f"train.trainer = {name!r} is not here; allowed: {allowed}")
    make: Maker = load(found[name])
    return make(config, steps)

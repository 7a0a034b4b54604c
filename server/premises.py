"""What methods that keep something at the clients ask of a run's other settings."""

from collections.abc import Iterator

from ..aggregators.recipes import recipe
from ..client.layouts import CORE, FROZEN, personal
from ..protocols.budgets import size
from ..protocols.errors import ConfigError
from ..protocols.settings import Config

WHOLE = ("fp32", "fp16")
"""Formats that keep all of what is no change."""


def check(config: Config) -> None:
    """Hold a run to what its space and its corrections ask for.

    Raises:
        ConfigError: the message names the key, what is allowed, and why.

    Example:
        >>> from fedelta.protocols.settings import Train
        >>> check(Config(train=Train(scaffold=True)))
        Traceback (most recent call last):
        fedelta.protocols.errors.ConfigError: train.scaffold corrects gradients and \
reads them off again from how far SGD went, which AdamW's steps do not tell: set \
train.optimizer = "sgd"
    """
    for wrong in (*_scaffold(config), *_shared(config), *_core(config)):
        raise ConfigError(wrong)


def _scaffold(config: Config) -> Iterator[str]:
    train, lora = config.train, config.lora
    if not train.scaffold:
        return
    if train.optimizer != "sgd":
        yield (
            "train.scaffold corrects gradients and reads them off again from how far "
            'SGD went, which AdamW\'s steps do not tell: set train.optimizer = "sgd"'
        )
    if train.trainer:
        yield "train.scaffold is for our own loop: empty train.trainer"
    lasting = lora.space in (FROZEN, CORE) and lora.init == "run"
    if train.mode == "lora" and not lasting:
        yield (
            "train.scaffold needs coordinates that mean the same in every round: set "
            f'train.mode = "full", or lora.space = "{FROZEN}" or "{CORE}" with '
            f'lora.init = "run". With lora.space = "{lora.space}" and lora.init = '
            f'"{lora.init}" factors start anew each round, and gradients of the last '
            "ones say nothing of the next"
        )
    made = recipe(config.merge.recipe)
    if not made.linear or made.before or made.outer or made.gain != 1 or _adds(config):
        yield (
            "train.scaffold has the mean of all clients' variates for its own: set "
            f'merge.recipe = "fedavg", not {config.merge.recipe}'
        )
    budgets = [config.wire.up_bytes, *(one.up_bytes for one in config.clients)]
    if config.wire.up not in WHOLE or any(map(size, budgets)):
        yield (
            "train.scaffold has clients send their control variates beside their "
            f"changes: set wire.up to {' or '.join(WHOLE)}, and no up_bytes"
        )
    if config.privacy.mode != "none":
        yield (
            "train.scaffold sends control variates that neither a clip nor noise on "
            'the changes covers: leave it out, or set privacy.mode = "none"'
        )
    yield from _rounds(config)


def _rounds(config: Config) -> Iterator[str]:
    """What has replies count in part, or later, does not go with SCAFFOLD."""
    for said, there in (
        ('gate.policy = "off"', config.gate.policy == "off"),
        ('round.mode = "sync"', config.round.mode == "sync"),
        ('round.late = "refuse"', config.round.late == "refuse"),
    ):
        if not there:
            yield (
                "train.scaffold has each accepted reply's variate count in full in its "
                f"own round, or the clients' and the server's part: set {said}"
            )


def _shared(config: Config) -> Iterator[str]:
    if not personal(config):
        return
    if config.lora.init != "run":
        yield (
            'lora.space = "share-a" keeps one A and each client\'s own B through all '
            'rounds: set lora.init = "run"'
        )
    if config.eval.where not in ("clients", "none"):
        yield (
            'lora.space = "share-a" has no one global model that a server could judge: '
            'set eval.where = "clients", or "none"'
        )
    if config.eval.keep != "last":
        yield (
            'lora.space = "share-a": clients keep their own factors of the last round '
            'alone: set eval.keep = "last"'
        )


def _core(config: Config) -> Iterator[str]:
    cored = config.train.mode == "lora" and config.lora.space == CORE
    if cored and config.lora.init != "run":
        yield (
            'lora.space = "core" has one B and one A for the whole run: set '
            'lora.init = "run"'
        )
    if cored and config.privacy.mode == "record":
        yield (
            'lora.space = "core" is trained between layers, where no gradients of '
            'single records are taken (privacy.mode = "record"): take '
            f'lora.space = "{FROZEN}"'
        )


def _adds(config: Config) -> bool:
    return recipe(config.merge.recipe).reducer.adds

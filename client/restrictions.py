"""What does not go together with a promise of privacy, told before round 1.

Each refusal names what would leave without noise, or without a bound. The coordinator
holds a run to it, and so does each client: it is not to be talked out of the promise.
"""

from collections.abc import Iterator
from typing import Any

from ..aggregators import portions, sensitivities
from ..aggregators.furthers import wanted
from ..aggregators.recipes import recipe
from ..protocols.errors import ConfigError, ContributionError
from ..protocols.settings import Config

_BOUNDED = ("product", "residual", "frozen-a")
_ALONE = 'every client counts once: set merge.weights = "uniform"'


def check(config: Config) -> None:
    """Refuse settings under which a run's promise would not hold.

    Raises:
        ConfigError: names the first one that does not hold, and what to set.

    Example:
        >>> from fedelta.protocols.settings import Privacy
        >>> check(Config(privacy=Privacy("client", clip=1.0, noise_multiplier=1.0)))
        Traceback (most recent call last):
        fedelta.protocols.errors.ConfigError: privacy.mode = "client": weights by \
examples tell how many there are, and give some clients more than the clip: every \
client counts once: set merge.weights = "uniform"
    """
    mode = config.privacy.mode
    if mode == "none":
        return
    checks = {"client": _client, "record": _record}[mode]
    for holds, said in (*_numbers(config), *_everywhere(config), *checks(config)):
        if not holds:
            raise ConfigError(f'privacy.mode = "{mode}": {said}')
    if mode == "client":
        sensitivities.check(recipe(config.merge.recipe), config.privacy.counts)


def unmeasured(config: Config) -> None:
    """Refuse to tell what was measured on a client's data, where noise is promised.

    Raises:
        ContributionError: the run promises privacy.
    """
    if config.privacy.mode != "none":
        raise ContributionError(
            f'privacy.mode = "{config.privacy.mode}": nothing that is measured on this '
            "client's data leaves it"
        )


Ruling = tuple[bool, str]


def _numbers(config: Config) -> Iterator[Ruling]:
    given = config.privacy
    positive = {"clip": given.clip, "noise_multiplier": given.noise_multiplier}
    for key, value in positive.items():
        yield 0 < value < float("inf"), f"privacy.{key} must be above 0, not {value:g}"
    yield 0 < given.delta < 1, f"privacy.delta must be in (0, 1), not {given.delta:g}"
    yield 0 < given.rate <= 1, f"privacy.rate must be in (0, 1], not {given.rate:g}"
    yield 0 <= given.quantile < 1, "privacy.quantile must be in [0, 1)"
    named = ("epsilon", "denominator", "counts", "clip_rate", "clip_noise", "honest")
    for key in named:
        least: Any = getattr(given, key)
        yield least >= 0, f"privacy.{key} must be at least 0, not {least:g}"


def _everywhere(config: Config) -> Iterator[Ruling]:
    uniform = config.merge.weights == "uniform"
    told = "weights by examples tell how many there are, and give some clients more"
    yield uniform, f"{told} than the clip: {_ALONE}"
    where = config.eval.where in ("server", "none")
    yield where, 'what clients measure leaves without noise: set eval.where = "server"'
    told = "what clients measure leaves without noise: set eval.probes = false"
    yield not config.eval.probes, told
    alone = not (config.eval.local or config.eval.central)
    told = "models of single clients, or of all data, are judged without noise"
    yield alone, f"{told}: set eval.local and eval.central to false"
    scaffold = getattr(config.train, "scaffold", False)
    yield not scaffold, "control variates are not clipped: leave train.scaffold out"
    statistics = wanted(recipe(config.merge.recipe))
    told = f"{config.merge.recipe} sends statistics of the data without noise"
    yield not statistics, f"{told}: take fedavg() or ties()"


def _client(config: Config) -> Iterator[Ruling]:
    given = config.privacy
    flat = config.merge.tree == "flat"
    yield flat, 'regions would send sums without noise up: set merge.tree = "flat"'
    bounded = config.train.mode == "full" or config.lora.space in _BOUNDED
    told = f'lora.space = "{config.lora.space}" has no bounded sum'
    yield bounded, f'{told}: take "frozen-a" or "product"'
    told = "a fixed number of clients is no Poisson sample: leave round.clients out"
    yield config.round.clients == 0, f"{told} and set privacy.rate"
    agreed = recipe(config.merge.recipe).reducer.loop in sensitivities.AGREED
    yield not given.counts or agreed, "privacy.counts is for ties() alone: leave it out"
    masked, shared = given.secure_aggregation, given.noise_by == "clients"
    told = "a server that sees only sums cannot clip what is in them"
    yield shared or not masked, f'{told}: set privacy.noise_by = "clients"'
    told = "shares of noise by clients hide nothing from whoever sees single replies"
    said = 'set privacy.secure_aggregation = true, or noise_by = "server"'
    yield masked or not shared, f"{told}: {said}"
    if shared:
        yield from _portioned(config)


def _portioned(config: Config) -> Iterator[Ruling]:
    """What does not go with noise that clients add."""
    given = config.privacy
    told = "the server knows whom it asks, so that sampling hides nothing from it"
    yield given.rate == 1, f"{told}: set privacy.rate = 1"
    told = "the sum is divided by how many are asked"
    yield not given.denominator, f"{told}: leave privacy.denominator out"
    told = "nobody counts who is within the clip"
    yield not given.quantile, f"{told}: leave privacy.quantile out"
    told = "clients send no counts"
    yield not given.counts, f"{told}: leave privacy.counts out"
    told = "counts would be opened without noise"
    yield not given.release, f"{told}: set privacy.release = 0"
    shared = given.support == "shared"
    told = "private places ask for counts first"
    yield shared, f'{told}: set privacy.support = "shared"'
    whole = config.train.mode == "full" or config.lora.space == "frozen-a"
    told = "a client clips the product of its factors only where A is frozen"
    yield whole, f'{told}: set lora.space = "frozen-a"'
    portions.kinds(recipe(config.merge.recipe))


def _record(config: Config) -> Iterator[Ruling]:
    train = config.train
    yield train.mode == "lora", 'gradients by record are taken of adapters: mode "lora"'
    yield not train.trainer, "only our own loop adds noise: leave train.trainer out"
    asked = {
        "prox_mu": train.prox_mu,
        "micro_batch": train.micro_batch,
        "packing": train.packing,
        "checkpointing": train.checkpointing,
    }
    for key, value in asked.items():
        yield not value, f"gradients are not taken by record with train.{key}"

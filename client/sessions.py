"""What a client process keeps between messages: one task, one base model.

All clients that run in a process share them. The base is brought to the version that
a plan names by folding what it lacks, or from its own bytes where its version is not
a beginning of the wanted one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..aggregators.products import Read
from ..protocols import digests, snapshots
from ..protocols.codec import Context, decode
from ..protocols.errors import ConfigError, PayloadError, StaleRoundError
from ..protocols.plans import RoundPlan
from ..protocols.refusals import Refusal
from ..protocols.settings import Config
from ..protocols.vectors import Floats, Layout
from . import data, models, stores


@dataclass(frozen=True, slots=True)
class Session:
    """A run as this process sees it.

    Attributes:
        config: the run's configuration.
        task: its data.
        base: its base model, at some version.
    """

    config: Config
    task: data.Task
    base: models.Base


def settings(text: str) -> Config:
    """The configuration that travels as JSON text in Flower's run configuration.

    Raises:
        ConfigError: not a configuration.

    Example:
        >>> settings('{"run": {"rounds": 5}}').run.rounds
        5
    """
    try:
        return TypeAdapter(Config).validate_json(text)
    except ValidationError as error:
        raise ConfigError(
            "the run configuration's `config` is not one of ours: "
            f"{error.error_count()} wrong keys"
        ) from error


@lru_cache(maxsize=1)
def session(text: str) -> Session:
    """The session of a configuration; loaded once, until another one is asked for.

    Raises:
        ConfigError: its data or model cannot be read.
    """
    config = settings(text)
    task = data.load(config)
    return Session(config, task, models.load_base(config, task.labels))


def folder(node_config: Any, run: str) -> Path:
    """Where a client keeps its state of a run.

    Raises:
        ConfigError: its node names no folder.
    """
    if not (state := node_config.get("state")):
        raise ConfigError("the node's configuration names no `state` folder")
    return Path(str(state)) / run


def bring(base: models.Base, plan: RoundPlan, arrived: list[bytes], home: Path) -> None:
    """Bring a base to the version that a plan names.

    Args:
        base: the process's base model.
        plan: names the version and the updates that travel with it.
        arrived: those updates' bytes, oldest first.
        home: this client's folder for the run, where updates are kept.

    Raises:
        StaleRoundError: an update is missing, or what results is another version.
        PayloadError: an update does not decode; the base is at its own bytes then.
    """
    store = stores.Updates(home)
    chain = store.receive(plan, arrived)
    held = len(base.applied)
    if tuple(chain[:held]) != base.applied:
        base.reset()
        held = 0
    try:
        names, snapshot = store.snapshot()
        if held < len(names) and chain[: len(names)] == names:
            _restore(base, snapshot, tuple(names))
            held = len(names)
        for number in range(held + 1, len(chain) + 1):
            base.fold(_update(base, plan, store.read(number)), chain[number - 1])
    except BaseException:  # a base half brought would be nobody's version
        base.reset()
        raise
    if base.version != plan.base:
        raise StaleRoundError(
            f"with {len(chain)} updates the model here is {base.version[:12]}, the "
            f"plan starts from {plan.base[:12]}: this client has another base model "
            "or has missed updates; send all of them"
        )


def _restore(base: models.Base, data: bytes, applied: tuple[str, ...]) -> None:
    weights = base.weights()
    layout = Layout.of({name: one.shape for name, one in weights.items()})
    found = snapshots.decode(data, layout)
    if isinstance(found, Refusal):
        raise PayloadError(f"the snapshot does not decode: {found}")
    base.restore(found.words, applied)
    if digests.of_tensors(base.weights()) != found.digest:
        raise StaleRoundError(
            "the snapshot does not lead to the server's weights: this client has "
            "another base model"
        )


def _update(base: models.Base, plan: RoundPlan, data: bytes) -> Mapping[str, Floats]:
    """One update's tensors: the one that follows the base's version as it is now."""
    context = Context(
        layout=base.update_layout(),
        run=plan.run,
        round=len(base.applied) + 1,
        base=base.version,
    )
    payload = decode(data, context)
    if isinstance(payload, Refusal):
        raise PayloadError(f"update {len(base.applied) + 1} does not decode: {payload}")
    return Read(payload)

"""The final model on disk, as others' tools read it: a PEFT adapter, or folded."""

from pathlib import Path
from typing import Any

import numpy as np

from ..aggregators import factors
from ..client import exports as adapters
from ..client.layouts import SHARED_NAME, personal
from ..protocols.errors import ConfigError
from ..protocols.settings import Config
from ..protocols.vectors import Floats
from . import files
from .leaflets import leaflet
from .sessions import Session

ADAPTER, FOLDED, BOTH = "adapter", "folded", "both"


def kind(config: Config) -> str:
    """What a run writes: "adapter", "folded" or "both".

    Example:
        >>> kind(Config())
        'adapter'
    """
    if config.run.export != "auto":
        return config.run.export
    return ADAPTER if has_factors(config) else FOLDED


def check(config: Config) -> None:
    """See that a run can be written as it asks for.

    Raises:
        ConfigError: an adapter is asked for, of updates that are none, or one model of
            what is none.
    """
    asked = config.run.export
    if asked in (FOLDED, BOTH) and personal(config):
        raise ConfigError(
            f'run.export = "{asked}": with lora.space = "share-a" there is no one '
            'model to fold; take "adapter", or "auto"'
        )
    if asked in (ADAPTER, BOTH) and not has_factors(config):
        raise ConfigError(
            f'run.export = "{asked}": updates of every weight are no adapter; take '
            '"folded", or "auto"'
        )


def has_factors(config: Config) -> bool:
    """Whether a run's updates are factors, and so can be written as an adapter."""
    return config.train.mode == "lora" and config.lora.space != "residual"


def export(session: Session, folder: Path) -> dict[str, Any]:
    """Write the model that the session is at.

    An adapter is ``adapter_config.json`` and ``adapter_model.safetensors``, as
    `peft.PeftModel.from_pretrained` reads them; a head that is the model's own is in
    it. The folded model is a folder for `transformers`. ``head.safetensors`` holds the
    trained head in either case, ``labels.json`` its classes in order, ``README.md``
    how to load it all.

    Args:
        session: the run, its base at the version that is wanted.
        folder: where to; what is folded lies in its ``folded`` where both are written.

    Returns:
        "written" ("adapter", "folded" or "both"); of an adapter its "rank" and
        "error", the relative Frobenius error of what bringing the rounds' updates
        down to that rank cut off.
    """
    chosen = kind(session.config)
    said: dict[str, Any] = {"written": chosen}
    if chosen != ADAPTER:
        _folded(session, folder / FOLDED if chosen == BOTH else folder)
    if chosen != FOLDED:
        said |= _adapter(session, folder)
    head = {name: session.model.weights[name] for name in session.base.heads}
    if head:
        files.write_arrays(folder / "head.safetensors", head)
        files.write_json(folder / "labels.json", {"labels": list(session.task.labels)})
    files.write(folder / "README.md", leaflet(session, chosen).encode())
    return said


def _folded(session: Session, folder: Path) -> None:
    """The base with all updates folded in; there whole or not at all."""
    from ..client.folders import save
    from ..client.models import Base, load_base

    base = session.base
    if not isinstance(base, Base):  # its network was not needed until now
        base = load_base(session.config, session.task.labels)
        base.adopt(session.model.weights)
    with files.whole(folder) as part:
        save(base, part, session.task.labels)


def _adapter(session: Session, folder: Path) -> dict[str, Any]:
    """All rounds' updates as one adapter."""
    config = session.config
    if personal(config):
        return _shared(session, folder)
    given = enumerate(session.model.updates, 1)
    updates = [session.base.starts.completed(one.tensors, n) for n, one in given]
    return adapters.adapter(config, updates, folder, _own_head(session))


def _shared(session: Session, folder: Path) -> dict[str, Any]:
    """The A that all share, with a B of nothing: where anybody's own B is trained."""
    config, found = session.config, dict[str, Floats]()
    for name, a in session.model.weights.items():
        if not name.endswith(SHARED_NAME):
            continue
        module = name.removesuffix(SHARED_NAME)
        wide = session.base.starts.targets[module][0]
        found[module + factors.A_NAME] = a
        found[module + factors.B_NAME] = np.zeros((wide, len(a)), np.float32)
    ranks = dict.fromkeys(session.base.starts.targets, config.lora.rank)
    own, more = _own_head(session), adapters.untrained(config)
    adapters.write(config, found, own, folder, ranks=ranks, **more)
    return {"rank": config.lora.rank, "error": 0.0, "shared": "A"}


def _own_head(session: Session) -> dict[str, Floats]:
    """The head, where it is part of the model (and not the cosine head)."""
    return {name: session.model.weights[name] for name in session.base.own_heads}

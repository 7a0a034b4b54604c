"""The final model on disk, as others' tools read it: a PEFT adapter, or folded."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..aggregators import factors
from ..client.layouts import SHARED_NAME, personal
from ..protocols.errors import ConfigError
from ..protocols.settings import Config
from ..protocols.vectors import Floats
from . import files
from .leaflets import leaflet
from .sessions import Session

ADAPTER, FOLDED, BOTH = "adapter", "folded", "both"
_PREFIX = "base_model.model."
_KINDS = {"classification": "SEQ_CLS", "causal-lm": "CAUSAL_LM"}


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
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    save(base, part, session.task.labels)
    files.settle(part, folder)


def _adapter(session: Session, folder: Path) -> dict[str, Any]:
    """All rounds' updates as one adapter."""
    config = session.config
    if personal(config):
        return _shared(session, folder)
    given = enumerate(session.model.updates, 1)
    updates = [session.base.starts.completed(one.tensors, n) for n, one in given]
    rank = config.lora.rank_out or _exact(updates, config)
    summed, error = factors.recompress(updates, rank)
    pairs = {n: t for n, t in summed.items() if _is_factor(n)}
    modules = [
        n.removesuffix(factors.B_NAME) for n in pairs if n.endswith(factors.B_NAME)
    ]
    ranks = {m: int(pairs[m + factors.A_NAME].shape[0]) for m in sorted(modules)}
    rank = max(ranks.values())
    own = _own_head(session)
    adapter = {_PREFIX + name: tensor for name, tensor in (pairs | own).items()}
    files.write_arrays(folder / "adapter_model.safetensors", adapter)
    said = _peft(config, rank, ranks) | {
        "modules_to_save": sorted({name.split(".")[0] for name in own}) or None
    }
    files.write_json(folder / "adapter_config.json", said)
    return {"rank": rank, "error": error}


def _shared(session: Session, folder: Path) -> dict[str, Any]:
    """The A that all share, with a B of nothing: where anybody's own B is trained."""
    config, adapter = session.config, dict[str, Floats]()
    for name, a in session.model.weights.items():
        if not name.endswith(SHARED_NAME):
            continue
        module = name.removesuffix(SHARED_NAME)
        wide = session.base.starts.targets[module][0]
        adapter[_PREFIX + module + factors.A_NAME] = a
        b = np.zeros((wide, len(a)), np.float32)
        adapter[_PREFIX + module + factors.B_NAME] = b
    own = _own_head(session)
    adapter |= {_PREFIX + name: tensor for name, tensor in own.items()}
    files.write_arrays(folder / "adapter_model.safetensors", adapter)
    ranks = dict.fromkeys(session.base.starts.targets, config.lora.rank)
    said = _peft(config, config.lora.rank, ranks) | {
        "lora_alpha": config.lora.alpha,
        "use_rslora": config.lora.scaling == "rslora",
        "inference_mode": False,
        "modules_to_save": sorted({name.split(".")[0] for name in own}) or None,
    }
    files.write_json(folder / "adapter_config.json", said)
    return {"rank": config.lora.rank, "error": 0.0, "shared": "A"}


def _exact(updates: Sequence[Mapping[str, Floats]], config: Config) -> int:
    """The rank at which nothing of the updates is cut off."""
    if config.lora.space in ("frozen-a", "core") and config.lora.init == "run":
        return config.lora.rank  # the same A in every round
    return sum(
        max(
            one.shape[1]
            for name, one in update.items()
            if name.endswith(factors.B_NAME)
        )
        for update in updates
    )


def _own_head(session: Session) -> dict[str, Floats]:
    """The head, where it is part of the model (and not the cosine head)."""
    return {name: session.model.weights[name] for name in session.base.own_heads}


def _is_factor(name: str) -> bool:
    return name.endswith((factors.A_NAME, factors.B_NAME))


def _peft(config: Config, rank: int, ranks: dict[str, int]) -> dict[str, Any]:
    """The adapter's description; alpha is each rank, so that the scaling is 1."""
    from ..client.folders import public

    other = {module: one for module, one in ranks.items() if one != rank}
    bare = config.model.task == "classification" and config.model.head != "linear"
    return {
        "peft_type": "LORA",
        "task_type": "FEATURE_EXTRACTION" if bare else _KINDS[config.model.task],
        "base_model_name_or_path": public(config.model.id),
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": other,
        "alpha_pattern": other,
        "target_modules": sorted(ranks),
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "fan_in_fan_out": False,
    }

"""Updates as an adapter on disk, as `peft.PeftModel.from_pretrained` reads it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from ..aggregators import factors
from ..protocols import disks
from ..protocols.settings import Config
from ..protocols.vectors import Floats
from .folders import public

_PREFIX = "base_model.model."
_KINDS = {"classification": "SEQ_CLS", "causal-lm": "CAUSAL_LM"}


def adapter(
    config: Config,
    updates: Sequence[Mapping[str, Floats]],
    folder: Path,
    own: Mapping[str, Floats],
) -> dict[str, Any]:
    """Write updates as one adapter on what the first of them is folded into.

    Args:
        config: the run's.
        updates: with all their factors.
        folder: where to.
        own: a head that is part of the model, as it is to be; none: as it is there.

    Returns:
        Its "rank" and "error", the relative Frobenius error of what bringing the
        updates down to that rank cut off.
    """
    rank = config.lora.rank_out or _exact(updates, config)
    summed, error = factors.recompress(updates, rank)
    pairs = {n: t for n, t in summed.items() if _is_factor(n)}
    modules = [
        n.removesuffix(factors.B_NAME) for n in pairs if n.endswith(factors.B_NAME)
    ]
    ranks = {m: int(pairs[m + factors.A_NAME].shape[0]) for m in sorted(modules)}
    write(config, pairs, own, folder, ranks=ranks)
    return {"rank": max(ranks.values()), "error": error}


def write(
    config: Config,
    pairs: Mapping[str, Floats],
    own: Mapping[str, Floats],
    folder: Path,
    *,
    ranks: Mapping[str, int],
    **more: Any,
) -> None:
    """Write factors by name and the adapter's description.

    Args:
        config: the run's.
        pairs: both factors of every module.
        own: a head that is part of the model.
        folder: where to.
        ranks: by module.
        more: what the description says otherwise than of a trained adapter.
    """
    tensors = {
        _PREFIX + name: np.ascontiguousarray(tensor)
        for name, tensor in {**pairs, **own}.items()
    }
    disks.write(folder / "adapter_model.safetensors", save(tensors))
    said = _peft(config, max(ranks.values()), ranks) | more
    said["modules_to_save"] = sorted({name.split(".")[0] for name in own}) or None
    text = json.dumps(said, indent=2) + "\n"
    disks.write(folder / "adapter_config.json", text.encode())


def untrained(config: Config) -> dict[str, Any]:
    """What is said of an adapter whose training is yet to come."""
    return {
        "lora_alpha": config.lora.alpha,
        "use_rslora": config.lora.scaling == "rslora",
        "inference_mode": False,
    }


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


def _is_factor(name: str) -> bool:
    return name.endswith((factors.A_NAME, factors.B_NAME))


def _peft(config: Config, rank: int, ranks: Mapping[str, int]) -> dict[str, Any]:
    """The adapter's description; alpha is each rank, so that the scaling is 1."""
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

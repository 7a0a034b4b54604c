"""The final model on disk, as a PEFT adapter with its head beside it."""

from pathlib import Path
from typing import Any

from ..aggregators import factors
from ..protocols.vectors import Floats
from . import files
from .sessions import Session

_PREFIX = "base_model.model."


def export(session: Session, folder: Path) -> dict[str, Any]:
    """Write all rounds' updates as one adapter.

    ``adapter_config.json`` and ``adapter_model.safetensors`` are what
    `peft.PeftModel.from_pretrained` reads; ``head.safetensors`` holds the trained
    head, ``labels.json`` its classes in order.

    Returns:
        "rank" of the adapter and "error", the relative Frobenius error of what
        bringing the rounds' updates down to that rank cut off.
    """
    config = session.config
    rank = config.lora.rank_down or 4 * config.highest_rank
    updates = [one.tensors for one in session.model.updates]
    summed, error = factors.recompress(updates, rank)
    pairs = {n: t for n, t in summed.items() if _is_factor(n)}
    modules = sorted(
        n.removesuffix(factors.B_NAME) for n in pairs if n.endswith(factors.B_NAME)
    )
    ranks = {m: int(pairs[m + factors.A_NAME].shape[0]) for m in modules}
    adapter = {_PREFIX + name: tensor for name, tensor in pairs.items()}
    files.write_arrays(folder / "adapter_model.safetensors", adapter)
    files.write_arrays(folder / "head.safetensors", _head(session, modules))
    files.write_json(folder / "labels.json", {"labels": list(session.task.labels)})
    files.write_json(
        folder / "adapter_config.json", _peft(config.model.id, rank, ranks)
    )
    return {"rank": rank, "error": error}


def _head(session: Session, modules: list[str]) -> dict[str, Floats]:
    paired = {f"{module}.weight" for module in modules}
    weights = session.model.weights
    return {name: one for name, one in weights.items() if name not in paired}


def _is_factor(name: str) -> bool:
    return name.endswith((factors.A_NAME, factors.B_NAME))


def _peft(base: str, rank: int, ranks: dict[str, int]) -> dict[str, Any]:
    """The adapter's description; alpha is each rank, so that the scaling is 1."""
    other = {module: one for module, one in ranks.items() if one != rank}
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
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
        "modules_to_save": None,
    }

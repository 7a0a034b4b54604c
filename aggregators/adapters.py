"""PEFT's LoRA adapters on disk, merged into one adapter: no base model is needed.

By a recipe the *products* are merged, ``s B A`` with each adapter's own rank and
scaling; linear recipes are exact, others are brought down to a rank. With
``compat="peft"`` in the recipe what `add_weighted_adapter` makes is made.
"""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..protocols.bindings import bind
from ..protocols.errors import ConfigError, PayloadError
from ..protocols.grammar import parse
from ..protocols.vectors import Floats, Pair, TaskVector
from . import checkpoints, combinations
from .base import Key
from .checkpoints import Checkpoint
from .recipes import recipe as read_recipe
from .shares import weighed
from .spaces import Arrival, merge_round
from .tallies import Stack
from .tensors import Array, Tensor, mapped, rounded

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_HALVES = re.compile(r"^(.*)\.(lora_[AB]\.weight|lora_embedding_[AB])$")
_REFUSED = ("use_dora", "use_qalora", "lora_bias", "modules_to_save")


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter.

    Attributes:
        path: its folder.
        config: what ``adapter_config.json`` says.
        held: by module (with peft's prefix), its factors.
        kind: dtype of its tensors, by safetensors' name.
        embedded: the modules that embed, whose factors have other names.
    """

    path: Path
    config: Mapping[str, Any]
    held: Mapping[str, Stack]
    kind: str
    embedded: frozenset[str]


def is_adapter(path: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (path / CONFIG).is_file()


def of(models: Sequence[Path], base: Path | None) -> bool:
    """Whether what is to be merged are adapters, all of them, without a base."""
    return base is None and bool(models) and all(is_adapter(Path(p)) for p in models)


def opened(path: Path) -> Adapter:
    """Read an adapter.

    Raises:
        ConfigError: no LoRA, or a kind of it that is not merged; says which.
        PayloadError: a damaged file, or factors that do not fit each other.
    """
    try:
        config = json.loads((path / CONFIG).read_text())
        kind = config["peft_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path / CONFIG}: does not read: {error!r}") from None
    if kind != "LORA":
        raise ConfigError(f"{path}: peft_type is {kind}, only LORA is merged")
    for key in _REFUSED:
        if config.get(key):
            why = "the product is not all that it changes"
            raise ConfigError(f"{path}: {key} = {config[key]!r} is not merged: {why}")
    if not (path / WEIGHTS).is_file():
        raise ConfigError(f"{path}: there is no {WEIGHTS}")
    tensors, _ = mapped(path / WEIGHTS)
    halves: dict[str, dict[str, Tensor]] = {}
    for name, one in tensors.items():
        found = _HALVES.match(name)
        if found is None or one.raw.ndim != 2 or not one.floats:  # noqa: PLR2004
            raise PayloadError(f"{path / WEIGHTS}: is no LoRA factor", tensor=name)
        halves.setdefault(found[1], {})[found[2].replace(".weight", "")[-1]] = one
    held = {name: _stack(path, config, name, halves[name]) for name in sorted(halves)}
    kinds = sorted({one.kind for one in tensors.values()})
    kind = kinds[0] if len(kinds) == 1 else "F32"
    embeds = (found for found in map(_HALVES.match, tensors) if found is not None)
    embedded = frozenset(one[1] for one in embeds if "embedding" in one[2])
    return Adapter(path, config, held, kind, embedded)


def _stack(
    path: Path, config: Mapping[str, Any], name: str, halves: Mapping[str, Tensor]
) -> Stack:
    if halves.keys() != {"A", "B"}:
        raise PayloadError(f"{path / WEIGHTS}: A or B is missing", tensor=name)
    a, b = _values(halves["A"]), _values(halves["B"])
    if b.shape[1] != a.shape[0]:
        reason = f"{path / WEIGHTS}: {b.shape} times {a.shape} is no product"
        raise PayloadError(reason, tensor=name)
    module, rank = name.removeprefix(_PREFIX), a.shape[0]
    alpha = _by_pattern(config.get("alpha_pattern"), module, config.get("lora_alpha"))
    divisor = rank**0.5 if config.get("use_rslora") else rank
    return Stack(b, a, float(alpha) / divisor)


def _by_pattern(patterns: Any, module: str, default: Any) -> Any:
    """A module's own setting, as peft looks it up."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def _values(one: Tensor) -> Floats:
    return one.part(0, one.raw.size).reshape(one.raw.shape)


def merge_adapters(
    folders: Sequence[Path],
    out: Path,
    recipe: str,
    weights: Sequence[float] | None = None,
    *,
    rank: int = 0,
    seed: int = 0,
) -> float:
    """Merge adapters into one.

    Args:
        folders: as `save_pretrained` writes them.
        out: the merged adapter's folder, with the first one's other files.
        recipe: a recipe's text; with ``compat="peft"`` one of peft's combinations.
        weights: one an adapter, 1 each where left out; peft's take them as they are.
        rank: of the result; 0: without loss for linear recipes, else four times the
            largest that came. Peft's combinations have ``svd_rank``.
        seed: of a recipe that draws.

    Returns:
        The relative Frobenius error of what bringing down to the rank cut off.

    Raises:
        ConfigError, PayloadError: as `opened` says, or what does not go together.
    """
    adapters = [opened(Path(path)) for path in folders]
    if not adapters:
        raise ConfigError("give at least one adapter to merge")
    given = [1.0] * len(adapters) if weights is None else list(weights)
    if len(given) != len(adapters):
        raise ConfigError(f"{len(given)} weights for {len(adapters)} adapters")
    call = parse(recipe)
    if call.kwargs.get("compat") == "peft":
        made, error = _combined(adapters, recipe, given, seed), 0.0
    else:
        made, error = _merged(adapters, recipe, given, rank, seed)
    embedded = frozenset.union(*(one.embedded for one in adapters))
    _write(replace(adapters[0], embedded=embedded), Path(out), made)
    return error


def _combined(
    adapters: Sequence[Adapter], text: str, weights: Sequence[float], seed: int
) -> dict[str, tuple[Floats, Floats]]:
    known = {
        name: functools.partial(combinations.combination, name, seed=seed)
        for name in combinations.NAMES
    }
    combine = bind(parse(text), known)
    made = {}
    for name in sorted({name for one in adapters for name in one.held}):
        inside = [place for place, one in enumerate(adapters) if name in one.held]
        held = [adapters[place].held[name] for place in inside]
        b, a = combine(held, [weights[place] for place in inside], name)
        made[name] = b.astype(np.float32), a.astype(np.float32)
    return made


def _merged(
    adapters: Sequence[Adapter],
    text: str,
    weights: Sequence[float],
    rank: int,
    seed: int,
) -> tuple[dict[str, tuple[Floats, Floats]], float]:
    chosen = read_recipe(text)
    shares, _ = weighed(weights, len(adapters))
    arrivals = []
    for place, (one, share) in enumerate(zip(adapters, shares, strict=True)):
        names = {name: (f"{name}.b", f"{name}.a") for name in one.held}
        tensors = {names[n][0]: s.b for n, s in one.held.items()}
        tensors |= {names[n][1]: s.a for n, s in one.held.items()}
        pairs = tuple(
            Pair(f"{n}.weight", names[n][1], names[n][0], s.scaling)
            for n, s in one.held.items()
        )
        vector = TaskVector.of(tensors)
        arrivals.append(Arrival(f"{place:06d}", vector, share, "", pairs))
    ranks = [max(s.a.shape[0] for s in one.held.values()) for one in adapters]
    wanted = rank or (sum(ranks) if chosen.linear else 4 * max(ranks))
    key = Key(f"merge {seed}")
    found = merge_round(chosen, "product", arrivals, key=key, rank_down=wanted)
    made = {}
    for name in sorted({name for one in adapters for name in one.held}):
        b, a = (found.update[f"{name}.lora_{half}.weight"] for half in "BA")
        used = max(int(np.count_nonzero(np.any(b != 0, axis=0))), 1)
        made[name] = b[:, :used], a[:used]
    return made, found.report["truncation"]


def _write(
    first: Adapter, out: Path, made: Mapping[str, tuple[Floats, Floats]]
) -> None:
    kind = first.kind
    values: dict[str, Array] = {}
    for name, (b, a) in made.items():
        for half, value in (("B", b), ("A", a)):
            plain = name not in first.embedded
            end = f"lora_{half}.weight" if plain else f"lora_embedding_{half}"
            title = f"{name}.{end}"
            values[title] = rounded(title, value.astype(np.float64), kind)
    tensors = {name: Tensor(kind, value, str(out)) for name, value in values.items()}
    template = Checkpoint(
        first.path,
        tensors,
        {WEIGHTS: tuple(sorted(tensors))},
        {WEIGHTS: {"format": "pt"}},
    )
    text = json.dumps(_described(first, made), indent=2, sort_keys=True) + "\n"
    checkpoints.write(template, out, values.__getitem__, {CONFIG: text})


def _described(
    first: Adapter, made: Mapping[str, tuple[Floats, Floats]]
) -> dict[str, Any]:
    """The first adapter's description; alpha is each rank, so that the scaling is 1."""
    ranks = {name.removeprefix(_PREFIX): b.shape[1] for name, (b, _) in made.items()}
    rank = max(ranks.values())
    other = {name: one for name, one in ranks.items() if one != rank}
    said = {"r": rank, "lora_alpha": rank, "use_rslora": False}
    said |= {"rank_pattern": other, "alpha_pattern": other}
    return {**first.config, **said, "target_modules": sorted(ranks)}

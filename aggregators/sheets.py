"""mergekit's YAML: models, method and knobs of a merge, by tensor and by depth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]

from ..protocols.bindings import nearest
from ..protocols.errors import ConfigError
from ..protocols.vectors import Contribution, Layout
from . import adapters, checkpoints
from .base import Key, Member
from .checkpoints import Checkpoint
from .depths import numbered
from .knobs import Settings, checked, first
from .merges import Difference, Plan, fits
from .reductions import merged
from .shares import weighed
from .tensors import DTYPES, Array, Tensor
from .translations import METHODS, Method

_TOP = ("merge_method", "models", "base_model", "parameters", "dtype", "out_dtype")
_KINDS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclass(frozen=True, slots=True)
class Sheet:
    """A merge as mergekit writes it.

    Attributes:
        method: by mergekit's name.
        models: beside the base, in order, with their own settings.
        base: the base model, if one is named.
        settings: for all.
        kind: what floating-point tensors are written as (safetensors' name); "": as
            the base (or the first model) has them.
    """

    method: str
    models: tuple[tuple[Path, Settings], ...]
    base: Path | None
    settings: Settings
    kind: str = ""


def read(text: str, folder: Path) -> Sheet:
    """Read a sheet.

    Args:
        text: YAML.
        folder: what relative paths start from.

    Raises:
        ConfigError: not YAML, or what fedelta does not read (slices, modules,
            tokenizers, models on a hub); the message names it.

    Example:
        >>> sheet = read("{merge_method: linear, models: [{model: a}]}", Path("/m"))
        >>> sheet.method, sheet.models[0][0].as_posix()
        ('linear', '/m/a')
    """
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {error}") from None
    if not isinstance(given, dict):
        raise ConfigError("a merge sheet is a map with merge_method and models")
    for key in given:
        if key not in _TOP:
            raise ConfigError(f"{key!r} is not read: {nearest(str(key), _TOP)}")
    name = str(given.get("merge_method", ""))
    if name not in METHODS:
        raise ConfigError(f"merge_method {name!r}: {nearest(name, METHODS)}")
    base = given.get("base_model")
    sheet = Sheet(
        name,
        tuple(_model(one, folder) for one in _listed(given.get("models"), "models")),
        None if base is None else folder / str(base),
        _mapped(given.get("parameters"), "parameters"),
        _kind(given.get("out_dtype") or given.get("dtype")),
    )
    return _held(sheet, METHODS[name])


def _model(entry: Any, folder: Path) -> tuple[Path, Settings]:
    one = {"model": entry} if isinstance(entry, str) else _mapped(entry, "a model")
    checked(one, ("model", "parameters"), "a model")
    if "model" not in one:
        raise ConfigError(f"{entry!r} names no model")
    return folder / str(one["model"]), _mapped(one.get("parameters"), "parameters")


def _mapped(value: Any, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{what}: {value!r} is no map")
    return value


def _listed(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{what}: give a list of at least one")
    return value


def _kind(value: Any) -> str:
    if value is None:
        return ""
    if value not in _KINDS:
        raise ConfigError(f"dtype is {value!r}, allowed: {', '.join(_KINDS)}")
    return _KINDS[value]


def _held(sheet: Sheet, method: Method) -> Sheet:
    """Put the base where the method wants it, and hold knobs to what it has."""
    given = [path for path, _ in sheet.models]
    if adapters.of(given, None):
        named = " ".join(map(str, given))
        raise ConfigError(
            "these models are adapters, and a sheet merges whole models: adapters are "
            f"merged by a recipe, without their base: `fedelta merge --recipe TEXT "
            f"--out OUT {named}` (texts: `fedelta methods`)"
        )
    both = {**method.shared, **method.own}
    checked(sheet.settings, both, sheet.method)
    for path, settings in sheet.models:
        checked(settings, both, f"{sheet.method} of {path.name}")
    if sheet.base is None and (method.base == "needed" or sheet.method == "slerp"):
        raise ConfigError(f"{sheet.method} needs a base_model")
    others = tuple(one for one in sheet.models if one[0] != sheet.base)
    if method.base != "input" or sheet.method == "slerp":
        least, most = method.inputs
        if not least <= len(others) <= most:
            raise ConfigError(f"{sheet.method}: not with {len(others)} models")
    if sheet.method == "slerp" and sheet.base is not None:
        return replace(sheet, models=((sheet.base, {}), *others), base=None)
    if method.base == "input":
        return replace(sheet, base=None)
    return replace(sheet, models=others)


@dataclass(frozen=True, slots=True)
class Opened:
    """A sheet's models, ready to be merged tensor by tensor.

    Attributes:
        sheet: what is asked for.
        models: in order.
        base: if there is one.
        seed: of methods that draw.
    """

    sheet: Sheet
    models: tuple[Checkpoint, ...]
    base: Checkpoint | None
    seed: int

    @property
    def template(self) -> Checkpoint:
        """Whose names, shapes, files and other content the result has."""
        like = self.base or self.models[0]
        if not self.sheet.kind:
            return like
        return replace(
            like, tensors={n: self._cast(t) for n, t in like.tensors.items()}
        )

    def _cast(self, one: Tensor) -> Tensor:
        if not one.floats:
            return one
        empty = np.zeros((), DTYPES[self.sheet.kind])
        return replace(
            one, kind=self.sheet.kind, raw=np.broadcast_to(empty, one.raw.shape)
        )

    def values(self) -> "Values":
        """Hold the models to fit each other, and lay out who is merged how."""
        like = self.template.tensors
        for one in self.models:
            fits(one.tensors, like)
        depths = dict(zip(like, numbered(list(like)), strict=True))
        return Values(self, {name: depth or 0.0 for name, depth in depths.items()})


@dataclass(frozen=True, slots=True)
class Values:
    """The merged tensors, each by its own knobs."""

    opened: Opened
    depths: Mapping[str, float]

    def __call__(self, name: str) -> Array:
        """One tensor, in the template's dtype and shape."""
        like = self.opened.template.tensors[name]
        base = self.opened.base
        origin = None if base is None else {name: base.tensors[name]}
        if not like.floats:
            kept = (base or self.opened.models[0]).tensors[name]
            return np.array(kept.raw)
        update = self._update(name, like, origin)
        return Plan({name: like}, origin, update).value(name)

    def _update(
        self, name: str, like: Tensor, origin: Mapping[str, Tensor] | None
    ) -> Contribution:
        opened, depth = self.opened, self.depths[name]
        method = METHODS[opened.sheet.method]
        shared = _knobs(method.shared, [opened.sheet.settings], name, depth)
        own = [
            _knobs(method.own, [settings, opened.sheet.settings], name, depth)
            for _, settings in opened.sheet.models
        ]
        before, recipe = method.make(shared, own)
        weights = [one.get("weight", 1.0) for one in own]
        if origin is not None and not any(weights):
            weights, recipe = [1.0] * len(own), replace(recipe, gain=0.0)
        shares, unit = weighed(weights, len(own))
        if recipe.reducer.adds:
            recipe = replace(recipe, gain=recipe.gain * unit)
        layout, key = Layout.of({name: like.raw.shape}), Key(f"merge {opened.seed}")
        members = []
        for place, (model, share) in enumerate(zip(opened.models, shares, strict=True)):
            mine = {name: model.tensors[name]}
            change: Contribution = Difference(layout, mine, origin, str(model.path))
            for transform in before[place]:
                change = transform.apply(change, key.of(f"{place:06d}"))
            members.append(Member(f"{place:06d}", change, share))
        return merged(recipe, members, key)


def _knobs(
    known: Settings, scopes: Sequence[Settings], name: str, depth: float
) -> dict[str, Any]:
    return {k: first(k, default, scopes, name, depth) for k, default in known.items()}


def opened(sheet: Sheet, seed: int = 0) -> Opened:
    """Open a sheet's models.

    Raises:
        ConfigError: a file that is not there.
        PayloadError: a damaged file.
    """
    models = tuple(checkpoints.opened(path) for path, _ in sheet.models)
    base = None if sheet.base is None else checkpoints.opened(sheet.base)
    return Opened(sheet, models, base, seed)

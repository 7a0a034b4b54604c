"""Models merged offline: state dicts in memory, checkpoints on disk."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..protocols.errors import ConfigError, PayloadError
from ..protocols.vectors import Block, Contribution, Layout, Span
from . import checkpoints
from .base import Key, Member, Recipe
from .furthers import FISHER, GRAM, Attached, wanted
from .recipes import recipe as read_recipe
from .reductions import merged
from .scales import spans_of
from .shares import weighed
from .tensors import BITS, Array, Tensor, held, rounded

Tensors = Mapping[str, Tensor]

_FURTHER = {FISHER: "Fisher", GRAM: "Gram matrix"}


@dataclass(frozen=True, slots=True)
class Difference:
    """A model minus its base, as a contribution read from where they lie.

    Attributes:
        layout: the tensors that are merged.
        model: by name.
        base: by name; None: zero.
        where: what it is read from, for messages.
    """

    layout: Layout
    model: Tensors
    base: Tensors | None
    where: str

    def block(self, span: Span) -> Block:
        """One span of the task vector, float32."""
        name = self.layout.names[span.tensor]
        values = self.model[name].part(span.start, span.size)
        if self.base is not None:
            with np.errstate(invalid="ignore", over="ignore"):
                values = values - self.base[name].part(span.start, span.size)
        return Block(span.size, None, values)

    def lies(self, tensor: int) -> tuple[tuple[str, Array], tuple[str, Array] | None]:
        """A tensor's elements, and the base's."""
        name = self.layout.names[tensor]
        one = self.model[name]
        if self.base is None:
            return (one.kind, one.raw), None
        return (one.kind, one.raw), (self.base[name].kind, self.base[name].raw)


def merge(
    models: Sequence[Mapping[str, Any]],
    recipe: str | Recipe,
    *,
    base: Mapping[str, Any] | None = None,
    weights: Sequence[float] | None = None,
    further: Sequence[Mapping[str, Any]] | None = None,
    seed: int = 0,
) -> dict[str, Array]:
    """Merge state dicts.

    Floating-point tensors are merged in fixed point over float32 and given back in the
    base's dtype; others are kept as the base has them. Names that share one array in
    the base and in every model (tied weights) share one in the result.

    Args:
        models: arrays by name, all with the base's names and shapes.
        recipe: a recipe or its text.
        base: what the models were fine-tuned from; None: zero, where the recipe is a
            plain mean (then names and dtypes are the first model's).
        weights: one a model, 1 each where left out; normalised where the recipe
            averages, taken as they are where it adds.
        further: what ``fisher`` and ``regmean`` need, one map a model: by tensor its
            diagonal Fisher information, or X^T X of its layer's inputs.
        seed: of a recipe that draws.

    Returns:
        Arrays by name.

    Raises:
        ConfigError: a recipe, base or weights that do not go together.
        PayloadError: tensors that do not fit; the message names tensor and model.
        BoundsError: a value that is not finite, or does not fit the base's dtype.

    Example:
        >>> a, b = {"w": np.float32([1, 5])}, {"w": np.float32([3, 1])}
        >>> merge([a, b], "fedavg", weights=[3, 1])["w"]
        array([1.5, 4. ], dtype=float32)
    """
    read = [
        {name: held(name, value, f"model {place + 1}") for name, value in one.items()}
        for place, one in enumerate(models)
    ]
    origin = None
    if base is not None:
        origin = {name: held(name, value, "the base") for name, value in base.items()}
    sure = [
        {name: held(name, value, f"further {place + 1}") for name, value in one.items()}
        for place, one in enumerate(further or ())
    ]
    plan = _planned(read, recipe, origin, weights, seed, sure)
    tied = _tied([*read, *([origin] if origin else [])])
    first = base if base is not None else models[0] if models else {}
    result: dict[str, Array] = {}
    for name in first:
        leader = tied.get(name, name)
        result[name] = result[leader] if leader in result else plan.value(leader)
        if plan.template[name].kind in BITS.values():
            result[name] = result[name].view(np.asarray(first[name]).dtype)
    return result


def merge_files(  # noqa: PLR0913
    models: Sequence[Path],
    base: Path | None,
    out: Path,
    recipe: str,
    weights: Sequence[float] | None = None,
    *,
    further: Sequence[Path] = (),
    seed: int = 0,
) -> None:
    """Merge checkpoints on disk, span by span, into one of the base's form.

    Args:
        models: .safetensors files or Hugging Face folders, single or sharded.
        base: likewise; None as for `merge`.
        out: where to; a folder where the base is one, with its configuration and
            tokenizer files. It appears, or is replaced, only when all went well.
        recipe: a recipe's text.
        weights: as for `merge`.
        further: as for `merge`, files or folders.
        seed: of a recipe that draws.

    Raises:
        ConfigError: a file that is not there, or what `merge` says.
        PayloadError: a damaged file, or tensors that do not fit; names both.
        BoundsError: as for `merge`.
    """
    for path in [*models, *([] if base is None else [base])]:
        if Path(path).absolute() == Path(out).absolute():
            raise ConfigError(f"{out} is an input too: choose another output")
    opened = [checkpoints.opened(Path(path)) for path in models]
    origin = None if base is None else checkpoints.opened(Path(base))
    tensors = None if origin is None else origin.tensors
    sure = [checkpoints.opened(Path(path)).tensors for path in further]
    given = [one.tensors for one in opened]
    plan = _planned(given, recipe, tensors, weights, seed, sure)
    checkpoints.write(origin or opened[0], Path(out), plan.parts)


@dataclass(frozen=True, slots=True)
class Plan:
    """A merge that is ready to be read tensor by tensor."""

    template: Tensors
    base: Tensors | None
    update: Contribution

    def value(self, name: str) -> Array:
        """One tensor of the result, in the template's dtype and shape."""
        like = self.template[name]
        out, at = np.empty(like.raw.size, like.raw.dtype), 0
        for part in self.parts(name):
            out[at : at + part.size] = part
            at += part.size
        return out.reshape(like.raw.shape)

    def parts(self, name: str) -> Iterator[Array]:
        """The same, run by run: no tensor is ever held whole."""
        like = self.template[name]
        if not like.floats:
            yield like.raw.reshape(-1)
            return
        layout = self.update.layout
        for span in spans_of(layout, layout.place(name)):
            values = self.update.block(span).values.astype(np.float64)
            if self.base is not None:
                values += self.base[name].part(span.start, span.size)
            yield rounded(name, values, like.kind)


def _planned(
    models: Sequence[Tensors],
    recipe: str | Recipe,
    base: Tensors | None,
    weights: Sequence[float] | None,
    seed: int,
    further: Sequence[Tensors] = (),
) -> Plan:
    if not models:
        raise ConfigError("give at least one model to merge")
    chosen = read_recipe(recipe) if isinstance(recipe, str) else recipe
    if chosen.outer is not None:
        raise ConfigError("grouped merges by region, and models on disk have none")
    plain = chosen.linear and not chosen.before and not chosen.reducer.adds
    if base is None and not plain and not chosen.baseless:
        raise ConfigError(
            f"{chosen.text} merges changes: say what against with a base (--base); "
            "only fedavg and the spherical means do without"
        )
    shares, unit = weighed(weights, len(models))
    if chosen.reducer.adds:
        chosen = replace(chosen, gain=chosen.gain * unit)
    template = models[0] if base is None else base
    for one in models:
        fits(one, template)
    layout = Layout.of({n: t.raw.shape for n, t in template.items() if t.floats})
    members = [
        Member(f"{place:06d}", Difference(layout, one, base, _where(one, base)), share)
        for place, (one, share) in enumerate(zip(models, shares, strict=True))
    ]
    suffix = wanted(chosen)
    if suffix and further:
        members = _beside(members, further, suffix)
    elif further:
        raise ConfigError(f"{chosen.text} needs nothing beside the models")
    update = merged(chosen, members, Key(f"merge {seed}"))
    return Plan(template, base, update)


def _beside(
    members: Sequence[Member], further: Sequence[Tensors], suffix: str
) -> list[Member]:
    """Members with further tensors, held to fit what they are about."""
    what = _FURTHER[suffix]
    if len(further) != len(members):
        raise ConfigError(f"{len(further)} {what}s for {len(members)} models")
    joined = []
    for one, given in zip(members, further, strict=True):
        layout = one.contribution.layout
        names = layout.names if suffix == FISHER else sorted(given)
        for name in names:
            shape = layout.shapes[layout.place(name)]
            wanted = shape if suffix == FISHER else shape[-1:] * 2
            if name not in given or given[name].raw.shape != wanted:
                raise PayloadError(f"has no {what} of its shape", tensor=name)
        beside = Layout.of({name: given[name].raw.shape for name in names})
        sure = Difference(beside, given, None, f"the {what}")
        attached = Attached(one.contribution, sure, suffix)
        joined.append(replace(one, contribution=attached))
    return joined


def _where(model: Tensors, base: Tensors | None) -> str:
    """What a change is read from."""
    names = sorted({one.where for one in model.values()})
    return ", ".join(names) + (" (or its base)" if base is not None else "")


def fits(model: Tensors, template: Tensors) -> None:
    """Hold a model to the template's names, shapes and kinds."""
    for name in sorted(model.keys() | template.keys()):
        if name not in model or name not in template:
            lacking, having = (
                (model, template) if name in template else (template, model)
            )
            other = having[name].where
            there = next(iter(lacking.values())).where if lacking else "another model"
            raise PayloadError(f"in {other}, but not in {there}", tensor=name)
        one, like = model[name], template[name]
        if one.raw.shape != like.raw.shape:
            theirs = f"{like.raw.shape} in {like.where}"
            reason = f"shape {one.raw.shape} in {one.where}, {theirs}"
            raise PayloadError(reason, tensor=name)
        if one.kind != like.kind and not (one.floats and like.floats):
            reason = f"dtype {one.kind} in {one.where}, {like.kind} in {like.where}"
            raise PayloadError(reason, tensor=name)


def _tied(models: Sequence[Tensors]) -> dict[str, str]:
    """By name, the first name that shares its memory in every model."""
    leaders: dict[tuple[Any, ...], str] = {}
    tied: dict[str, str] = {}
    for name in models[0]:
        where = tuple(
            (
                one[name].raw.__array_interface__["data"][0],
                one[name].raw.shape,
                one[name].raw.strides,
            )
            for one in models
            if name in one
        )
        if models[0][name].raw.size:
            tied[name] = leaders.setdefault(where, name)
    return tied

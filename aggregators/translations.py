"""Methods of mergekit by name, as transforms of each model and a recipe.

Each entry reads a method's knobs for one tensor: those that all inputs share, and those
of each input. What comes out computes what mergekit 0.1.5 computes in float32, but for
its random draws, which are ours and keyed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..protocols.errors import ConfigError
from .base import Recipe, Reducer, Transform
from .compats import drop_to, mergekit_agreed, top
from .contests import sce
from .magnitudes import crumbs, sample
from .ratios import model_stock
from .spheres import karcher, multislerp, nuslerp, slerp
from .sums import weighted_mean, weighted_sum

Knobs = Mapping[str, Any]
Makers = tuple[tuple[Transform, ...], ...]


@dataclass(frozen=True, slots=True)
class Method:
    """A method of mergekit's.

    Attributes:
        shared: knobs that all inputs share, with their defaults; None: must be given.
        own: likewise, those of each input.
        base: "needed", "allowed", or "input" where it is one of the models.
        make: from the shared knobs and those of each model to what is done to each
            and the recipe.
        inputs: how many models beside the base, least and most.
    """

    shared: Knobs
    own: Knobs
    base: str
    make: Callable[[Knobs, Sequence[Knobs]], tuple[Makers, Recipe]]
    inputs: tuple[int, float] = (1, math.inf)


def _thinned(name: str, knobs: Knobs, *, rescale: bool) -> tuple[Transform, ...]:
    density = knobs["density"]
    if density >= 1:
        return ()
    if name.startswith("dare"):
        return (drop_to(density, "l1" if rescale else "none"),)
    if name.startswith("della"):
        if not rescale:
            raise ConfigError(f"{name}: only with rescale: true")
        return (sample(density, knobs["epsilon"], to_norm=True),)
    if rescale:
        raise ConfigError(f"{name}: only with rescale: false")
    if name.startswith("breadcrumbs"):
        return (crumbs(density, knobs["gamma"], floor=True),)
    return (top(density, 1),)


def _arithmetic(name: str, *, elects: bool, normalize: bool, rescale: bool) -> Method:
    def make(shared: Knobs, own: Sequence[Knobs]) -> tuple[Makers, Recipe]:
        thins = name != "task_arithmetic"
        before = tuple(
            _thinned(name, one, rescale=shared["rescale"]) if thins else ()
            for one in own
        )
        reducer: Reducer = weighted_mean() if shared["normalize"] else weighted_sum()
        if elects:
            reducer = mergekit_agreed("mass", normalize=shared["normalize"])
        return before, Recipe(name, (), reducer, shared["lambda"])

    knobs: dict[str, Any] = {"weight": None}
    if name != "task_arithmetic":
        knobs["density"] = 1.0
    if name.startswith("breadcrumbs"):
        knobs["gamma"] = 0.01
    if name.startswith("della"):
        knobs["epsilon"] = 0.15
    shared = {"normalize": normalize, "rescale": rescale, "lambda": 1.0}
    return Method({**shared, "int8_mask": False}, knobs, "needed", make)


def _linear(shared: Knobs, own: Sequence[Knobs]) -> tuple[Makers, Recipe]:
    reducer = weighted_mean() if shared["normalize"] else weighted_sum()
    return ((),) * len(own), replace(Recipe("linear", (), reducer), baseless=True)


def _whole(
    make: Callable[[Knobs], Recipe],
) -> Callable[[Knobs, Sequence[Knobs]], tuple[Makers, Recipe]]:
    def made(shared: Knobs, own: Sequence[Knobs]) -> tuple[Makers, Recipe]:
        return ((),) * len(own), make(shared)

    return made


def _nuslerp(shared: Knobs) -> Recipe:
    if shared["nuslerp_flatten"]:
        return nuslerp()
    return nuslerp("columns" if shared["nuslerp_row_wise"] else "rows")


def _stock(shared: Knobs) -> Recipe:
    if shared["filter_wise"]:
        raise ConfigError("model_stock: filter_wise is not read; leave it out")
    return model_stock()


def _karcher(shared: Knobs) -> Recipe:
    return karcher(int(shared["max_iter"]), shared["tol"])


METHODS: dict[str, Method] = {
    "linear": Method({"normalize": True}, {"weight": None}, "input", _linear),
    "slerp": Method({"t": None}, {}, "input", _whole(lambda k: slerp(k["t"])), (1, 1)),
    "nuslerp": Method(
        {"nuslerp_flatten": True, "nuslerp_row_wise": False},
        {"weight": None},
        "allowed",
        _whole(_nuslerp),
        (2, 2),
    ),
    "multislerp": Method(
        {},
        {"weight": None},
        "allowed",
        _whole(lambda k: multislerp()),  # noqa: ARG005
    ),
    "karcher": Method(
        {"max_iter": 10.0, "tol": 1e-5}, {}, "input", _whole(_karcher), (1, math.inf)
    ),
    "model_stock": Method(
        {"filter_wise": False}, {}, "needed", _whole(_stock), (2, math.inf)
    ),
    "sce": Method(
        {"select_topk": 1.0, "int8_mask": False},
        {},
        "needed",
        _whole(lambda k: sce(k["select_topk"], compat="mergekit")),
    ),
}
for _name, _elects, _normalize, _rescale in (
    ("task_arithmetic", False, False, False),
    ("ties", True, True, False),
    ("dare_linear", False, False, True),
    ("dare_ties", True, False, True),
    ("breadcrumbs", False, False, False),
    ("breadcrumbs_ties", True, False, False),
    ("della", True, True, True),
    ("della_linear", False, False, True),
):
    METHODS[_name] = _arithmetic(
        _name, elects=_elects, normalize=_normalize, rescale=_rescale
    )

"""`peft`'s ways to combine LoRA adapters, by the names of `add_weighted_adapter`.

``linear``, ``ties``, ``dare_linear``, ``dare_ties`` and ``magnitude_prune`` combine A
and B apart, each with the root of its weight (which is not to combine the products);
``cat`` stacks them and is exact; the names that end in ``svd`` combine the products
and bring them down to a rank. Computed in float32 as peft 0.21 does, but for its random
draws, which are ours and keyed, and for which of equal magnitudes is kept.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..protocols import seeds
from ..protocols.errors import ConfigError
from .base import Key
from .cohorts import Reals
from .factors import one_thread
from .tallies import Stack
from .transforms import fraction

Values = Sequence[Reals]
Rule = Callable[[Values, Sequence[float], str], Reals]


@dataclass(frozen=True, slots=True)
class Combination:
    """How one weight's pairs become one pair of scaling 1.

    Attributes:
        name: peft's.
        rule: over the members' values with their weights; the text tells draws apart.
        apart: whether A and B are combined apart, not as products.
        rank: of the result where it is brought down; 0: the largest that came.
    """

    name: str
    rule: Rule
    apart: bool
    rank: int = 0

    def __call__(
        self, held: Sequence[Stack], weights: Sequence[float], where: str
    ) -> tuple[Reals, Reals]:
        """B [out, R] and A [R, in].

        Raises:
            ConfigError: other ranks than the first one's, where A and B are apart.
        """
        if self.name == "cat":
            return _stacked(held, weights)
        if not self.apart:
            return self._lowered(held, weights, where)
        ranks = sorted({one.a.shape[0] for one in held})
        if len(ranks) > 1:
            raise ConfigError(
                f"{self.name} combines equal ranks only, {where} has {ranks}: take cat "
                f"or {self.name}_svd"
            )
        scaled = [w * one.scaling for w, one in zip(weights, held, strict=True)]
        roots = [math.sqrt(abs(one)) for one in scaled]
        signed = [
            math.copysign(root, one) for root, one in zip(roots, scaled, strict=True)
        ]
        left = [one.b.astype(np.float64) for one in held]
        right = [one.a.astype(np.float64) for one in held]
        return self.rule(left, roots, f"{where} b"), self.rule(
            right, signed, f"{where} a"
        )

    def _lowered(
        self, held: Sequence[Stack], weights: Sequence[float], where: str
    ) -> tuple[Reals, Reals]:
        rank = self.rank or max(one.a.shape[0] for one in held)
        with one_thread():
            whole = self.rule([_product(one) for one in held], weights, where)
            u, s, vt = np.linalg.svd(whole, full_matrices=False)
        return u[:, :rank] * s[:rank], vt[:rank]


def _product(one: Stack) -> Reals:
    made: Reals = one.scaling * one.b.astype(np.float64) @ one.a.astype(np.float64)
    return made


def _stacked(held: Sequence[Stack], weights: Sequence[float]) -> tuple[Reals, Reals]:
    right = [
        one.a.astype(np.float64) * (weight * one.scaling)
        for weight, one in zip(weights, held, strict=True)
    ]
    left = [one.b.astype(np.float64) for one in held]
    return np.concatenate(left, axis=1), np.concatenate(right)


def _sum(values: Values, weights: Sequence[float], where: str) -> Reals:  # noqa: ARG001
    return np.tensordot(np.array(weights), np.array(values), 1)


def _agreed(values: Values, weights: Sequence[float], election: str) -> Reals:
    """Signs elected without weights, what agrees added with them, by its count."""
    held = np.array(values)
    votes = held if election == "total" else np.sign(held)
    agree = np.sign(held) == np.where(votes.sum(0) >= 0, 1, -1)
    shape = (-1, *[1] * (held.ndim - 1))
    total = (held * np.reshape(weights, shape) * agree).sum(0)
    mean: Reals = total / np.maximum(agree.sum(0), 1)
    return mean


def _top(value: Reals, density: float) -> Reals:
    flat = value.reshape(-1)
    order = np.argsort(-np.abs(flat), kind="stable")[: int(density * flat.size)]
    out = np.zeros_like(flat)
    out[order] = flat[order]
    return out.reshape(value.shape)


def combination(
    name: str,
    density: float = 1.0,
    majority_sign_method: str = "total",
    svd_rank: int = 0,
    compat: str = "peft",
    seed: int = 0,
) -> Combination:
    """One of peft's combinations.

    Args:
        name: peft's, with or without ``_svd``.
        density: the share that is kept, where something is pruned.
        majority_sign_method: "total" or "frequency".
        svd_rank: of the result; 0: the largest that came.
        compat: "peft": there is nobody else's.
        seed: of what draws.

    Raises:
        ConfigError: no such name, or a knob outside what is allowed.

    Example:
        >>> one = np.ones((2, 1), np.float32)
        >>> b, a = combination("cat")([Stack(one, one.T, 0.5)] * 2, [1.0, 3.0], "w")
        >>> (b @ a).tolist()
        [[2.0, 2.0], [2.0, 2.0]]
    """
    if compat != "peft":
        raise ConfigError(f"{name}: compat is {compat!r}, allowed: 'peft'")
    if majority_sign_method not in ("total", "frequency"):
        raise ConfigError(
            f"{name}: majority_sign_method is {majority_sign_method!r}, allowed: "
            "total, frequency"
        )
    if svd_rank < 0:
        raise ConfigError(f"{name}: svd_rank is {svd_rank}, allowed: 0 and above")
    fraction(density, name)
    core = name.removesuffix("_svd") if name != "svd" else "linear"
    elects, key = core in ("ties", "dare_ties"), Key(f"merge {seed}")

    def rule(values: Values, weights: Sequence[float], where: str) -> Reals:
        if core.startswith("dare"):
            kept = [
                _dropped(one, density, key.of(f"{place:06d}"), where)
                for place, one in enumerate(values)
            ]
        elif core in ("ties", "magnitude_prune") and density < 1:
            kept = [_top(one, density) for one in values]
        else:
            kept = list(values)
        if elects:
            return _agreed(kept, weights, majority_sign_method)
        return _sum(kept, weights, where)

    return Combination(name, rule, apart=not name.endswith("svd"), rank=svd_rank)


def _dropped(value: Reals, density: float, key: Key, where: str) -> Reals:
    mask = seeds.keep(key.seed("drop", where), 0, value.size, density)
    out: Reals = np.where(mask.reshape(value.shape), value / density, 0.0)
    return out


NAMES = (
    "cat",
    "dare_linear",
    "dare_linear_svd",
    "dare_ties",
    "dare_ties_svd",
    "linear",
    "magnitude_prune",
    "magnitude_prune_svd",
    "svd",
    "ties",
    "ties_svd",
)

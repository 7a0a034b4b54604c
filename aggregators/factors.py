"""Low-rank pairs: folded into weights, stacked, brought down to a rank.

A sum of products is the product of the stacks, ``sum_k B_k A_k = [B_1 B_2 ..] [A_1;
A_2; ..]``, so its singular values follow from two thin QR factorisations and the SVD
of a small core, and the dense matrix is never formed. All of it runs on one thread:
BLAS gives other bits with other thread counts.
"""

import math
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ..protocols import seeds
from ..protocols.errors import PayloadError
from ..protocols.vectors import Floats

Reals = npt.NDArray[np.float64]

B_NAME, A_NAME = ".lora_B.weight", ".lora_A.weight"
_SMALL = 256
_OVERSAMPLED, _ITERATIONS = 10, 3
_NEGLIGIBLE = 2.0**-24
_INDEPENDENT, _DEPENDENT = 3e3, 1e6


@dataclass(frozen=True, slots=True)
class Reduced:
    """A matrix brought down to a rank.

    Attributes:
        b: [out, R] and
        a: [R, in]: what is kept, ``b a``, float32; unused columns are zero.
        rest: what was cut off: a pair (b, a), or the dense matrix.
        cut: Frobenius norm of what was cut off.
        norm: Frobenius norm of the whole.
    """

    b: Floats
    a: Floats
    rest: tuple[Floats, Floats] | Floats
    cut: float
    norm: float


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS on one thread within."""
    with threadpool_limits(limits=1):
        yield


def names(weight: str) -> tuple[str, str]:
    """What a weight's update pair is called: B, then A.

    Example:
        >>> names("layer.0.query.weight")
        ('layer.0.query.lora_B.weight', 'layer.0.query.lora_A.weight')
    """
    module = weight.removesuffix(".weight")
    return module + B_NAME, module + A_NAME


def fold(weights: MutableMapping[str, Floats], update: Mapping[str, Floats]) -> None:
    """Add an update to full weights, in place.

    Args:
        weights: float32 by name; pairs "m.lora_B.weight", "m.lora_A.weight" are added
            to "m.weight" as ``B A``, other tensors to those of their own name.
        update: as `fedelta.aggregators.spaces.merge_round` gives it.

    Raises:
        PayloadError: a name or a shape that the weights do not have; then nothing was
            added.

    Example:
        >>> weights = {"q.weight": np.zeros((2, 2), np.float32)}
        >>> b, a = np.float32([[1], [2]]), np.float32([[3, 4]])
        >>> fold(weights, {"q.lora_B.weight": b, "q.lora_A.weight": a})
        >>> weights["q.weight"].tolist()
        [[3.0, 4.0], [6.0, 8.0]]
    """
    for name, shape in shapes(update).items():
        if name not in weights:
            raise PayloadError("the model has no such weight", tensor=name)
        if weights[name].shape != shape:
            reason = f"{shape} does not fit {weights[name].shape}"
            raise PayloadError(reason, tensor=name)
    with one_thread():
        for name in sorted(update):
            if name.endswith(B_NAME):
                module = name.removesuffix(B_NAME)
                weights[module + ".weight"] += update[name] @ update[module + A_NAME]
            elif not name.endswith(A_NAME):
                weights[name] += update[name]


def shapes(update: Mapping[str, Floats]) -> dict[str, tuple[int, ...]]:
    """What an update changes, by the weights' names, with their shapes.

    Raises:
        PayloadError: a factor without its other half, or of another rank.
    """
    changed: dict[str, tuple[int, ...]] = {}
    for name, value in update.items():
        if name.endswith(A_NAME):
            if name.removesuffix(A_NAME) + B_NAME not in update:
                raise PayloadError("has no B beside it", tensor=name)
            continue
        if not name.endswith(B_NAME):
            changed[name] = value.shape
            continue
        module = name.removesuffix(B_NAME)
        a = update.get(module + A_NAME)
        if a is None or a.shape[0] != value.shape[1]:
            raise PayloadError("has no A of its rank beside it", tensor=name)
        changed[module + ".weight"] = (value.shape[0], a.shape[1])
    return changed


def stacked(bs: Sequence[Reals], as_: Sequence[Reals], rank: int) -> Reduced:
    """The sum of products, brought down to a rank.

    Args:
        bs: [out, r_k] each.
        as_: [r_k, in] each.
        rank: at most so many singular values are kept.
    """
    b, a = np.concatenate(bs, axis=1), np.concatenate(as_, axis=0)
    left, turn_left, core_left = orthogonal(b)
    right, turn_right, core_right = orthogonal(a.T)
    u, values, vt = np.linalg.svd(core_left @ core_right.T, full_matrices=False)
    count = int(np.count_nonzero(values > values[:1].sum() * _NEGLIGIBLE))
    roots = np.sqrt(values[:count])
    whole_b = (left @ (turn_left @ (u[:, :count] * roots))).astype(np.float32)
    scaled = roots[:, np.newaxis] * vt[:count]
    whole_a = ((scaled @ turn_right.T) @ right.T).astype(np.float32)
    kept = min(rank, count)
    rest = whole_b[:, kept:].copy(), whole_a[kept:].copy()
    width = min(rank, *b.shape[:1], *a.shape[1:])
    cut, norm = _norm(values[kept:]), _norm(values)
    return Reduced(*padded(whole_b[:, :kept], whole_a[:kept], width), rest, cut, norm)


def orthogonal(columns: Reals) -> tuple[Reals, Reals, Reals]:
    """A thin QR factorisation, Q in two parts: [m, n] = [m, k] [k, k] [k, n].

    From the Cholesky factor of the Gram matrix, once or twice, where the columns are
    independent enough for that: far faster than Householder's, and as exact as 10^-16
    times the square of their condition, which is held below 10^4 (once; what is left
    after that is near 1). Otherwise Householder's.

    Source: Yamamoto et al., `Roundoff error analysis of the CholeskyQR2 algorithm
    <https://etna.math.kent.edu/vol.44.2015/pp306-326.dir/>`_, 2015.

    Example:
        >>> base, turn, r = orthogonal(np.array([[3.0, 1.0], [4.0, 1.0], [0.0, 1.0]]))
        >>> bool(np.allclose(base @ turn @ r, [[3, 1], [4, 1], [0, 1]]))
        True
    """
    base, turn, core = columns, np.eye(columns.shape[1]), np.eye(columns.shape[1])
    if columns.size and len(columns) >= columns.shape[1]:
        for again in range(2):
            base = base @ turn if again else base
            try:
                lower = np.linalg.cholesky(base.T @ base)
                inverse = np.linalg.inv(lower)
            except np.linalg.LinAlgError:
                break
            condition = np.linalg.norm(lower) * np.linalg.norm(inverse)
            if not condition < _DEPENDENT:
                break
            turn, core = inverse.T, lower.T @ core
            if condition < _INDEPENDENT:
                return base, turn, core
    base, core = np.linalg.qr(columns)
    return base, np.eye(base.shape[1]), core


def projected(matrix: npt.NDArray[np.floating], rank: int, seed: int) -> Reduced:
    """A dense matrix brought down to a rank.

    Exact where the matrix is small; else by subspace iteration from a seeded start.

    Source: Halko, Martinsson, Tropp, `Finding structure with randomness
    <https://arxiv.org/abs/0909.4061>`_, 2011, algorithms 4.4 and 5.1.

    Args:
        matrix: [out, in].
        rank: at most so many singular values are kept.
        seed: where the iteration starts from.
    """
    whole = matrix.astype(np.float64)
    smaller = min(whole.shape)
    width = min(rank, smaller)
    if smaller <= max(_SMALL, 2 * (rank + _OVERSAMPLED)):
        u, values, vt = np.linalg.svd(whole, full_matrices=False)
    else:
        count = rank + _OVERSAMPLED
        start = seeds.normal(seed, 0, whole.shape[1] * count)
        basis = np.linalg.qr(whole @ start.reshape(-1, count))[0]
        for _ in range(_ITERATIONS):
            basis = np.linalg.qr(whole @ np.linalg.qr(whole.T @ basis)[0])[0]
        u, values, vt = np.linalg.svd(basis.T @ whole, full_matrices=False)
        u = basis @ u
    roots = np.sqrt(values[:width])
    b = (u[:, :width] * roots).astype(np.float32)
    a = (roots[:, np.newaxis] * vt[:width]).astype(np.float32)
    rest = whole - b.astype(np.float64) @ a.astype(np.float64)
    cut, norm = float(np.linalg.norm(rest)), float(np.linalg.norm(whole))
    return Reduced(b, a, rest.astype(np.float32), cut, norm)


def recompress(
    updates: Sequence[Mapping[str, Floats]], rank: int
) -> tuple[dict[str, Floats], float]:
    """Many updates as one, its pairs brought down to a rank.

    Args:
        updates: as `fold` takes them.
        rank: of each pair of the result.

    Returns:
        The sum of the updates, and the relative Frobenius error of its products.
    """
    result: dict[str, Floats] = {}
    cut = norm = 0.0
    with one_thread():
        for name in sorted({name for update in updates for name in update}):
            held = [update for update in updates if name in update]
            if name.endswith(B_NAME):
                other = name.removesuffix(B_NAME) + A_NAME
                bs = [update[name].astype(np.float64) for update in held]
                as_ = [update[other].astype(np.float64) for update in held]
                made = stacked(bs, as_, rank)
                result[name], result[other] = made.b, made.a
                cut, norm = math.hypot(cut, made.cut), math.hypot(norm, made.norm)
            elif not name.endswith(A_NAME):
                total = sum(update[name].astype(np.float64) for update in held)
                result[name] = np.asarray(total).astype(np.float32)
    return result, cut / norm if norm else 0.0


def padded(b: Floats, a: Floats, width: int) -> tuple[Floats, Floats]:
    """A pair with zeros up to a rank."""
    more = max(0, width - b.shape[1])
    return np.pad(b, ((0, 0), (0, more))), np.pad(a, ((0, more), (0, 0)))


def _norm(values: Reals) -> float:
    return float(np.sqrt(np.sum(values * values)))

"""Contributions to bytes and back; docs/format.md describes the bytes.

`decode` is pure, bounded and total: of whatever bytes it makes a validated view or a
`Refusal`, and it raises nothing. Every chunk is decompressed once and all of it looked
at before anything can be used.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from .containers import Buffer, Container, unpack
from .encoding import encode, repack
from .headers import Context, Header, admitted
from .payloads import Payload, validated
from .places import mask
from .refusals import Reason, Refusal, RefusedError
from .streams import Streams
from .values import CODINGS, LEAST, MOST, Counts, fits
from .vectors import Layout
from .wires import Wire, wire

__all__ = [
    "Context",
    "Header",
    "Payload",
    "Reason",
    "Refusal",
    "Wire",
    "decode",
    "encode",
    "repack",
    "wire",
]


def decode(data: Buffer, context: Context) -> Payload | Refusal:
    """Validate a payload; nothing of it is kept where it is refused.

    Args:
        data: the bytes that came; they are not copied and must not change.
        context: what is expected of them.

    Returns:
        A view that decodes on demand, or why it is not used.

    Example:
        >>> from .vectors import TaskVector
        >>> vector = TaskVector.of({"w": np.float32([1, 0, -2])})
        >>> name = vector.layout.fingerprint
        >>> data = encode(vector, "fp16", Header("00", 1, "a", "ff", name))
        >>> decode(data, Context(vector.layout, "00", 1, "ff", "fp16")).tensors()
        {'w': array([ 1.,  0., -2.], dtype=float32)}
        >>> print(decode(data, Context(vector.layout, "00", 2, "ff", "fp16")))
        STALE_ROUND: of round 1, this is 2
    """
    try:
        return _decoded(data, context)
    except RefusedError as error:
        return error.refusal


def _decoded(data: Buffer, context: Context) -> Payload:
    container = unpack(data, most=context.limit)
    header, kind, count = admitted(container.metadata, context)
    payload = validated(_streams(container, header, kind, context.layout))
    if payload.kept != count:
        raise RefusedError(
            Reason.LENGTH_MISMATCH, f"{payload.kept} values, said {count}"
        )
    coding = CODINGS[kind.values]
    for tensor, peak in enumerate(payload.peaks.tolist()):
        if not fits(coding, peak, payload.exponent(tensor)):
            raise RefusedError(Reason.NOT_CANONICAL, "not the exponent of its values")
    if context.norm_cap and not payload.norm <= context.norm_cap:
        raise RefusedError(
            Reason.NORM_CAP, f"norm {payload.norm:.6g} above {context.norm_cap:.6g}"
        )
    return payload


def _streams(
    container: Container, header: Header, kind: Wire, layout: Layout
) -> Streams:
    coding = CODINGS[kind.values]
    sparse = kind.places == "gaps"
    planes = coding.planes + sparse
    shapes: dict[str, tuple[type[Any], tuple[int, ...] | None]] = {
        "chunks": (np.uint32, (len(layout.chunks), planes))
    }
    if sparse:
        shapes["blocks"] = (np.uint32, (len(layout.spans), 2))
    if coding.top:
        shapes["scales"] = (np.int8, (len(layout.names),))
    shapes["frames"] = (np.uint8, None)
    tables = _expected(container, shapes)
    exponents = tables.get("scales", np.zeros(len(layout.names), np.int64))
    if exponents.size and (exponents.min() < LEAST or exponents.max() > MOST):
        raise RefusedError(Reason.BAD_SCALE, f"exponents are {LEAST} to {MOST}")
    kept = _kept(tables, header, kind, layout)
    widths = coding.widths(kept)
    if sparse:
        widths = np.vstack([widths, tables["blocks"][:, 1].astype(np.int64)])
    starts = _sums(tables["chunks"].reshape(-1))
    if starts[-1] != tables["frames"].size:
        raise RefusedError(Reason.BAD_OFFSETS, "frames do not add up to their bytes")
    return Streams(
        header,
        kind,
        layout,
        tables["frames"],
        starts,
        np.stack([_sums(row) for row in widths]),
        kept,
        exponents.astype(np.int64),
    )


def _sums(sizes: npt.NDArray[Any]) -> Counts:
    total = np.zeros(sizes.size + 1, np.int64)
    np.cumsum(sizes, out=total[1:], dtype=np.int64)
    return total


def _expected(
    container: Container,
    shapes: dict[str, tuple[type[Any], tuple[int, ...] | None]],
) -> dict[str, npt.NDArray[Any]]:
    if list(container.tensors) != list(shapes):
        raise RefusedError(Reason.KEYS_MISMATCH, f"expected {', '.join(shapes)}")
    for name, (dtype, shape) in shapes.items():
        found = container.tensors[name]
        if found.dtype != dtype:
            raise RefusedError(Reason.BAD_DTYPE, f"{name} is {found.dtype}")
        if found.shape != (shape or (found.size,)):
            raise RefusedError(Reason.SHAPE_MISMATCH, f"{name} is {found.shape}")
    return dict(container.tensors)


def _kept(
    tables: dict[str, npt.NDArray[Any]], header: Header, kind: Wire, layout: Layout
) -> Counts:
    """[spans] how many values each has: from the layout, the mask or the table."""
    sizes = np.array([span.size for span in layout.spans], np.int64)
    if kind.places == "all":
        return sizes
    if kind.places == "seeded":
        drawn = (mask(kind, header, layout, span).size for span in layout.spans)
        return np.fromiter(drawn, np.int64, len(sizes))
    kept: Counts
    kept, gaps = tables["blocks"].astype(np.int64).T
    if (kept > sizes).any():
        raise RefusedError(Reason.TOO_DENSE, "more values than places")
    if (gaps < kept).any() or (gaps > kept + sizes // 255).any():
        raise RefusedError(Reason.LENGTH_MISMATCH, "gaps and values differ")
    tensors = np.array([span.tensor for span in layout.spans], np.int64)
    sums = np.bincount(tensors, kept, len(layout.names))
    for size, count in zip(layout.sizes, sums, strict=True):
        if count > kind.most(size):
            raise RefusedError(Reason.TOO_DENSE, f"{count:.0f} of {size} values")
    return kept

"""Contributions to bytes and back; docs/format.md describes the bytes.

`decode` is pure, bounded and total: of whatever bytes it makes a validated view or a
`Refusal`, and it raises nothing. Every chunk is decompressed once and all of it looked
at before anything can be used.
"""

from .codings import fits
from .containers import Buffer, unpack
from .encoding import encode, repack
from .headers import Context, Header, admitted
from .payloads import Payload
from .refusals import Reason, Refusal, RefusedError
from .streams import Streams
from .tables import read
from .validations import validated
from .values import CODINGS
from .wires import Choice, Wire, wire

__all__ = [
    "Choice",
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
        >>> import numpy as np
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
    header, told = admitted(container.metadata, context)
    tables = read(container, header, told.wire, context.layout, told.version)
    if int(tables.kept.sum()) != told.kept:
        raise RefusedError(
            Reason.LENGTH_MISMATCH, f"{tables.kept.sum()} values, said {told.kept}"
        )
    if int(tables.chunks.sum()) != container.tensors["frames"].size:
        raise RefusedError(Reason.BAD_OFFSETS, "frames do not add up to their bytes")
    streams = Streams(
        header,
        told.wire,
        told.version,
        context.layout,
        container.tensors["frames"],
        tables,
    )
    payload, tops = validated(streams)
    for tensor, top in enumerate(tops.tolist()):
        coding = CODINGS[payload.choice(tensor).values]
        if not fits(coding, top, payload.exponent(tensor)):
            raise RefusedError(Reason.NOT_CANONICAL, "not the exponent of its values")
    if context.norm_cap and not payload.norm <= context.norm_cap:
        raise RefusedError(
            Reason.NORM_CAP, f"norm {payload.norm:.6g} above {context.norm_cap:.6g}"
        )
    return payload

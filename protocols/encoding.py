"""Contributions to bytes: one tensor at a time, one chunk of frames at a time."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .containers import pack
from .errors import PayloadError
from .headers import Header, metadata
from .masks import rounding_key
from .payloads import Payload
from .pieces import Job, gathered, pieces
from .tables import version_of
from .vectors import SPAN, Contribution
from .wires import AUTO, Choice, Wire
from .wires import wire as named
from .writers import Writer


def encode(
    vector: Contribution, wire: str, header: Header, choices: Sequence[Choice] = ()
) -> bytes:
    """Write a contribution.

    Args:
        vector: what to send; all of it must be finite.
        wire: the format's text; "dare" divides what it keeps by its density.
        header: what the payload says of itself; its `wire` is filled in here.
        choices: how each tensor travels, where the format is "mixed".

    Returns:
        The payload. The same input gives the same bytes with the same zstd.

    Raises:
        BoundsError: a value is not finite, or too large for any scale.
        PayloadError: the header names another layout than the vector's.
        ConfigError: no such format.
    """
    kind = named(wire)
    if kind.name == AUTO or (kind.places == "mixed") != bool(choices):
        raise PayloadError(f"{wire}: say how each tensor travels, in format mixed")
    each = tuple(choices) or (kind.choice,) * len(vector.layout.names)
    return _packed(vector, kind, header, Job(each, version_of(kind), kind.gain))


def repack(payload: Payload) -> bytes:
    """Write what was decoded again: the same streams, whatever the compressor."""
    streams = payload.streams
    tables = streams.tables
    job = Job(tables.choices, streams.version, 1.0, payload, tables.codes)
    return _packed(payload, payload.wire, payload.header, job)


def _packed(vector: Contribution, kind: Wire, header: Header, job: Job) -> bytes:
    layout = vector.layout
    if header.layout != layout.fingerprint:
        raise PayloadError("the header's layout is not the vector's")
    writer = Writer(kind, layout, job)
    scratch = np.empty(0, np.uint32)
    if any(one.places == "gaps" for one in job.choices):
        scratch = np.empty(max(layout.sizes, default=0), np.uint32)
    first = 0
    for tensor, (name, size) in enumerate(zip(layout.names, layout.sizes, strict=True)):
        spans = layout.spans[first : first + -(-size // SPAN)]
        first += len(spans)
        if not spans:
            continue
        dense = gathered(vector, spans, name)
        found = list(pieces(dense, spans, kind, header, (job, tensor, scratch, layout)))
        key = rounding_key(header, name) if kind.rounding == "stochastic" else 0
        writer.add(tensor, found, key)
    said = replace(header, wire=str(kind))
    kept = int(sum(writer.kept))
    return pack(metadata(said, kept, job.version, layout), writer.tensors())

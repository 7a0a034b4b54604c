"""The bytes of a payload: zstd frames, and the tables that say where a span's are."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import zstandard

from .headers import Header
from .refusals import Reason, RefusedError, refuse
from .values import Counts
from .vectors import CHUNK, Layout
from .wires import Wire

Bytes = npt.NDArray[np.uint8]

LARGEST = 2 * CHUNK
"""Bytes: no plane of a chunk is longer."""
SLACK = 512
"""Bytes that a frame may have beyond its content and a 128th of it."""


@dataclass(frozen=True, slots=True)
class Streams:
    """The parts of a payload, with the tables that say where each span's bytes are.

    Attributes:
        header: what the payload says of itself.
        wire: its format.
        layout: the tensors it has.
        frames: the zstd frames, chunk by chunk, plane by plane.
        starts: [chunks * planes + 1] where each frame begins.
        ends: [planes, spans + 1] bytes of each plane up to each span.
        kept: [spans] how many values each span has.
        exponents: [tensors] each tensor's e.
    """

    header: Header
    wire: Wire
    layout: Layout
    frames: Bytes
    starts: Counts
    ends: Counts
    kept: Counts
    exponents: Counts

    def load(self, chunk: int) -> list[Bytes]:
        """The planes of a chunk.

        Raises:
            RefusedError: INFLATED_SIZE, SHAPE_MISMATCH, LENGTH_MISMATCH or BAD_STREAM.
        """
        spans = self.layout.chunks[chunk]
        dense = self.wire.places == "all"
        lacks = Reason.SHAPE_MISMATCH if dense else Reason.LENGTH_MISMATCH
        planes: list[Bytes] = []
        for plane, ends in enumerate(self.ends):
            size = int(ends[spans.stop] - ends[spans.start])
            at = chunk * len(self.ends) + plane
            frame = self.frames[self.starts[at] : self.starts[at + 1]]
            planes.append(np.frombuffer(inflated(frame, size, lacks), np.uint8))
        return planes


def inflated(frame: Bytes, size: int, lacks: Reason) -> bytes:
    """The content of a frame that must be `size` bytes; an empty one has no frame.

    The size that the frame declares is checked before anything is decompressed: a
    decompressor would believe it.

    Args:
        frame: one whole zstd frame and nothing else.
        size: what its content must have.
        lacks: why it is refused where it declares another size.

    Raises:
        RefusedError: INFLATED_SIZE, BAD_STREAM or `lacks`.
    """
    if frame.size > size + (size >> 7) + SLACK or (not size and frame.size):
        refuse(Reason.INFLATED_SIZE, f"{frame.size} bytes for {size}")
    if not size:
        return b""
    try:
        declared = zstandard.frame_content_size(frame.data)
        if declared < 0 or declared > LARGEST:
            refuse(Reason.INFLATED_SIZE, f"declares {declared}, not {size}")
        if declared != size:
            refuse(lacks, f"declares {declared}, not {size}")
        reader = zstandard.ZstdDecompressor()
        content: bytes = reader.decompress(
            frame.data, max_output_size=size, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise RefusedError(Reason.BAD_STREAM, str(error)) from None
    if len(content) != size:
        refuse(Reason.BAD_STREAM, "not what the frame declared")
    return content

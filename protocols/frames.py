"""zstd frames: level 1 to write, and never more than was announced to read."""

import threading

import numpy as np
import numpy.typing as npt
import zstandard

from .refusals import Reason, RefusedError, refuse

Bytes = npt.NDArray[np.uint8]

LARGEST = 1 << 21
"""Bytes: no plane of a chunk is longer."""
SLACK = 512
"""Bytes that a frame may have beyond its content and a 128th of it."""


SHORT, LONG = 0, 7
"""Least length of a match: the level's own, and one that only true repeats have."""


def pressed(data: bytes, matches: int = SHORT) -> bytes:
    """One frame; nothing where there is nothing to press.

    Level 1: on gaps and codes higher levels find false matches and give more bytes,
    and negative ones leave out the entropy coder.
    """
    if not data:
        return b""
    more = {"min_match": matches} if matches else {}
    how = zstandard.ZstdCompressionParameters.from_level(
        1, source_size=len(data), write_checksum=False, write_dict_id=False, **more
    )
    return zstandard.ZstdCompressor(compression_params=how).compress(data)


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
    if not _announced(frame, size, lacks):
        return b""
    try:
        content: bytes = _reader().decompress(
            frame.data, max_output_size=size, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise RefusedError(Reason.BAD_STREAM, str(error)) from None
    if len(content) != size:
        refuse(Reason.BAD_STREAM, "not what the frame declared")
    return content


def inflate(frame: Bytes, out: Bytes, lacks: Reason) -> None:
    """The same into memory that is there already, of a frame that was checked once.

    What it declares and what follows it is not looked at again.

    Raises:
        RefusedError: BAD_STREAM, or `lacks` where there is less in it.
    """
    if not out.size:
        return
    try:
        with _reader().stream_reader(frame.data) as stream:
            size = stream.readinto(out.data)
    except zstandard.ZstdError as error:
        raise RefusedError(Reason.BAD_STREAM, str(error)) from None
    if size != out.size:
        refuse(lacks, f"holds {size}, not {out.size}")


def _announced(frame: Bytes, size: int, lacks: Reason) -> bool:
    """Hold what a frame announces to a size; whether there is a frame."""
    if frame.size > size + (size >> 7) + SLACK or (not size and frame.size):
        refuse(Reason.INFLATED_SIZE, f"{frame.size} bytes for {size}")
    if not size:
        return False
    try:
        declared = zstandard.frame_content_size(frame.data)
    except zstandard.ZstdError as error:
        raise RefusedError(Reason.BAD_STREAM, str(error)) from None
    if declared < 0 or declared > max(size, LARGEST):
        refuse(Reason.INFLATED_SIZE, f"declares {declared}, not {size}")
    if declared != size:
        refuse(lacks, f"declares {declared}, not {size}")
    return True


_HELD = threading.local()


def _reader() -> zstandard.ZstdDecompressor:
    """One decompressor a thread: making one takes as long as 20 kB take."""
    found: zstandard.ZstdDecompressor | None = getattr(_HELD, "reader", None)
    if found is None:
        found = _HELD.reader = zstandard.ZstdDecompressor()
    return found

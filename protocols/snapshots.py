"""A version of the model as its difference to the base's own bytes, without loss.

For a client that is many updates behind, this can be smaller than the updates. What is
written is the exclusive or of the float32 words, a plane of bytes each: where sign,
exponent and upper mantissa stayed, zeros. The file is a container like a payload.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .containers import Buffer, pack, unpack
from .frames import inflated, pressed
from .refusals import Reason, Refusal, RefusedError, refuse
from .vectors import Floats, Layout

FORMAT, VERSION = "fedelta.snapshot", "1"
_PLANES = 4
_CHUNK = 1 << 20
Words = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A version of the model.

    Attributes:
        base: the name of the version.
        digest: `digests.of_tensors` of its weights.
        words: by name, what the base's words are to be exclusive-ored with.
    """

    base: str
    digest: str
    words: Mapping[str, Words]


def encode(
    origin: Mapping[str, Floats], weights: Mapping[str, Floats], base: str, digest: str
) -> bytes:
    """Write a version.

    Args:
        origin: the base's own weights, by name.
        weights: the version's, of the same shapes.
        base: the name of the version.
        digest: `digests.of_tensors` of `weights`.

    Example:
        >>> zero, one = {"w": np.float32([1, 2])}, {"w": np.float32([1, 3])}
        >>> data = encode(zero, one, "b", "d")
        >>> found = decode(data, Layout.of({"w": (2,)}))
        >>> (zero["w"].view(np.uint32) ^ found.words["w"]).view(np.float32)
        array([1., 3.], dtype=float32)
    """
    layout = Layout.of({name: one.shape for name, one in origin.items()})
    frames: list[bytes] = []
    for name in layout.names:
        old = np.ascontiguousarray(origin[name], np.float32).reshape(-1)
        new = np.ascontiguousarray(weights[name], np.float32).reshape(-1)
        for start in range(0, old.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            words = old[part].view(np.uint32) ^ new[part].view(np.uint32)
            planes = np.ascontiguousarray(words.view(np.uint8).reshape(-1, _PLANES).T)
            frames += [pressed(plane.tobytes()) for plane in planes]
    said = {"format": FORMAT, "version": VERSION, "base": base, "digest": digest}
    sizes = np.array([len(one) for one in frames], np.uint32).reshape(-1, _PLANES)
    return pack(
        said | {"layout": layout.fingerprint},
        {"chunks": sizes, "frames": np.frombuffer(b"".join(frames), np.uint8)},
    )


def decode(data: Buffer, layout: Layout) -> Snapshot | Refusal:
    """Read a version back.

    Args:
        data: the bytes that came.
        layout: of the weights that updates touch.
    """
    try:
        return _decoded(data, layout)
    except RefusedError as error:
        return error.refusal


def _decoded(data: Buffer, layout: Layout) -> Snapshot:
    container = unpack(data)
    said = container.metadata
    if said.get("format") != FORMAT or said.get("version") != VERSION:
        refuse(Reason.BAD_VERSION, f"not a {FORMAT} of version {VERSION}")
    if said.get("layout") != layout.fingerprint:
        refuse(Reason.WRONG_SCHEMA, "of other weights")
    if list(container.tensors) != ["chunks", "frames"]:
        refuse(Reason.KEYS_MISMATCH, "expected chunks, frames")
    sizes, frames = container.tensors["chunks"], container.tensors["frames"]
    parts = [
        (name, start, min(_CHUNK, size - start))
        for name, size in zip(layout.names, layout.sizes, strict=True)
        for start in range(0, size, _CHUNK)
    ]
    if sizes.shape != (len(parts), _PLANES) or sizes.dtype != np.uint32:
        refuse(Reason.SHAPE_MISMATCH, "a table of other chunks")
    ends = np.cumsum(sizes.reshape(-1), dtype=np.int64)
    if frames.dtype != np.uint8 or (int(ends[-1]) if ends.size else 0) != frames.size:
        refuse(Reason.BAD_OFFSETS, "frames do not add up to their bytes")
    starts = ends - sizes.reshape(-1)
    found = {
        name: np.empty(size, np.uint32)
        for name, size in zip(layout.names, layout.sizes, strict=True)
    }
    for at, (name, start, size) in enumerate(parts):
        planes = [
            np.frombuffer(
                inflated(frames[starts[n] : ends[n]], size, Reason.SHAPE_MISMATCH),
                np.uint8,
            )
            for n in range(_PLANES * at, _PLANES * (at + 1))
        ]
        words = np.ascontiguousarray(np.stack(planes, axis=1)).view(np.uint32)
        found[name][start : start + size] = words.reshape(-1)
    shaped = zip(layout.names, layout.shapes, strict=True)
    words_by_name = {name: found[name].reshape(shape) for name, shape in shaped}
    return Snapshot(said.get("base", ""), said.get("digest", ""), words_by_name)

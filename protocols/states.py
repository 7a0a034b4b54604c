"""A reducer's state as bytes: what an edge server hands up.

A safetensors container (see `containers`): the state's arrays by name, and one text,
the manifest, as canonical JSON. What came is checked for its form here, and for its
meaning (members, shares, ranges) by whoever knows the reducer.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .containers import DTYPES, Buffer, pack, unpack
from .errors import PayloadError
from .refusals import Reason, Refusal, RefusedError, refuse

Array = npt.NDArray[Any]

VERSION = "1"
LONGEST_MANIFEST = 1 << 26
"""Bytes of header that a state may have: it names its layout and its members."""

_FORMAT = "fedelta.state"
_SCALARS = (str, int, float, bool, type(None))


def encode_state(tensors: Mapping[str, Array], manifest: Mapping[str, Any]) -> bytes:
    """Write a state.

    Args:
        tensors: arrays of numbers by name, in any order.
        manifest: what JSON holds without loss: maps by text, lists, texts, finite
            numbers, true, false, None.

    Raises:
        PayloadError: an array of another dtype, or a manifest that is no JSON.

    Example:
        >>> data = encode_state({"sum": np.int64([1, 2])}, {"members": ["a"]})
        >>> decode_state(data)
        ({'sum': array([1, 2])}, {'members': ['a']})
    """
    try:
        text = _canonical(manifest)
    except (TypeError, ValueError) as error:
        raise PayloadError(f"not a manifest: {error}") from error
    for name, tensor in tensors.items():
        if tensor.dtype.newbyteorder("<") not in DTYPES.values():
            raise PayloadError(f"{tensor.dtype} is not written", tensor=name)
    metadata = {"format": _FORMAT, "version": VERSION, "manifest": text}
    return pack(metadata, dict(sorted(tensors.items())))


def decode_state(
    data: Buffer, max_bytes: int = 0
) -> tuple[dict[str, Array], dict[str, Any]] | Refusal:
    """Read a state; raises nothing.

    Args:
        data: the bytes that came.
        max_bytes: the most that there may be; 0: any number.

    Returns:
        Its arrays, as read-only views of the bytes, and its manifest; or why not.
    """
    try:
        container = unpack(data, most=max_bytes, longest=LONGEST_MANIFEST)
        texts = container.metadata
        if texts.get("format") != _FORMAT or texts.get("version") != VERSION:
            refuse(Reason.BAD_VERSION, f"not a {_FORMAT} of version 1")
        if texts.keys() != {"format", "version", "manifest"}:
            refuse(Reason.BAD_HEADER, "other fields than version 1 has")
        if list(container.tensors) != sorted(container.tensors):
            refuse(Reason.KEYS_MISMATCH, "arrays are not in name order")
        for name, tensor in container.tensors.items():
            if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
                refuse(Reason.NON_FINITE, f"{name} is not finite")
        return dict(container.tensors), _manifest(texts["manifest"])
    except RefusedError as error:
        return error.refusal


def _canonical(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, allow_nan=False, sort_keys=True, separators=(",", ":"))


def _manifest(text: str) -> dict[str, Any]:
    try:
        manifest = json.loads(text)
        canonical = _canonical(manifest) == text
    except (ValueError, RecursionError, TypeError):
        raise RefusedError(Reason.BAD_HEADER, "the manifest is not JSON") from None
    if not isinstance(manifest, dict) or not canonical:
        refuse(Reason.BAD_HEADER, "the manifest is not canonical")
    return manifest

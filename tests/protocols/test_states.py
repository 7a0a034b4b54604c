"""States as bytes: what goes in comes out, and what is none is refused."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fedelta.protocols.containers import pack
from fedelta.protocols.errors import PayloadError
from fedelta.protocols.refusals import Reason, Refusal
from fedelta.protocols.states import decode_state, encode_state

DTYPES = st.sampled_from([np.int64, np.uint64, np.int32, np.uint8, np.float32])
ARRAYS = DTYPES.flatmap(
    lambda dtype: arrays(
        dtype,
        array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False}
        if dtype is np.float32
        else None,
    )
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
MANIFESTS = st.dictionaries(st.text(max_size=4), JSON, max_size=3)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=4), ARRAYS, max_size=3), MANIFESTS)
def test_round_trip(tensors: dict[str, Any], manifest: dict[str, Any]) -> None:
    if "__metadata__" in tensors:
        return
    data = encode_state(tensors, manifest)
    found = decode_state(data)
    assert isinstance(found, tuple), found
    got, said = found
    assert said == manifest
    assert got.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert got[name].dtype == tensor.dtype
        assert np.array_equal(got[name], tensor)
    backwards = dict(reversed(tensors.items()))
    assert encode_state(backwards, manifest) == data


STATE = encode_state(
    {"a": np.array([1, 2], np.int64), "b": np.array([0.5], np.float32)}, {"m": [1]}
)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(STATE) - 1), st.integers(0, 7), st.booleans())
def test_spoiled(at: int, bit: int, cut: bool) -> None:  # noqa: FBT001
    spoiled = bytearray(STATE)
    spoiled[at] ^= 1 << bit
    found = decode_state(STATE[:at] if cut else bytes(spoiled))
    if isinstance(found, tuple):
        tensors, manifest = found
        assert encode_state(tensors, manifest) == (STATE[:at] if cut else spoiled)


def meta(**texts: str) -> bytes:
    plain = {"format": "fedelta.state", "version": "1", "manifest": "{}"}
    return pack(plain | texts, {})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.BAD_HEADER),
        (meta(version="2"), Reason.BAD_VERSION),
        (meta(format="fedelta.payload"), Reason.BAD_VERSION),
        (meta(more=""), Reason.BAD_HEADER),
        (meta(manifest="{"), Reason.BAD_HEADER),
        (meta(manifest="[]"), Reason.BAD_HEADER),
        (meta(manifest='{"a":NaN}'), Reason.BAD_HEADER),
        (meta(manifest='{"a": 1}'), Reason.BAD_HEADER),
        (meta(manifest="[" * 100_000), Reason.BAD_HEADER),
        (STATE + b"x", Reason.BAD_OFFSETS),
        (
            encode_state({"a": np.array([math.nan])}, {}),
            Reason.NON_FINITE,
        ),
        (STATE * 3, Reason.INFLATED_SIZE),
    ],
)
def test_refused(data: bytes, reason: Reason) -> None:
    found = decode_state(data, max_bytes=2 * len(STATE) if len(data) < 1000 else 0)
    assert isinstance(found, Refusal)
    assert found.reason == reason


def test_not_written() -> None:
    with pytest.raises(PayloadError, match="not a manifest"):
        encode_state({}, {"a": math.nan})
    with pytest.raises(PayloadError, match="not a manifest"):
        encode_state({}, {"a": object()})
    with pytest.raises(PayloadError, match="w: complex64"):
        encode_state({"w": np.zeros(1, np.complex64)}, {})

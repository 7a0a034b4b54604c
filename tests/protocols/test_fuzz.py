"""Whatever is done to a payload's bytes, reading them ends in a verdict."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedelta.protocols import kernels
from fedelta.protocols.codec import Payload, Refusal, decode, encode, repack
from fedelta.protocols.positions import read_gaps

from .forgeries import streams
from .samples import SMALL, WIRES, context, header, payload


@given(arrays(np.uint8, st.integers(0, 60)), st.integers(0, 3000), st.integers(0, 70))
@settings(deadline=None)
def test_places_increase_by_construction(gaps: Any, size: int, count: int) -> None:
    """No bytes spell a place twice, backwards or outside."""
    positions = np.zeros(count, np.uint16)
    gaps.flags.writeable = False
    if read_gaps(gaps, size, positions) == kernels.FINE:
        assert (np.diff(positions.astype(int)) > 0).all()
        assert positions.max(initial=0) < max(size, 1)


@pytest.mark.parametrize("text", WIRES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_cut_flipped_spliced(text: str, data: st.DataObject) -> None:
    """Whatever is done to the bytes: refused, or a payload in canonical form."""
    one = payload(SMALL, text)
    two = encode(SMALL, data.draw(st.sampled_from(WIRES)), header(SMALL.layout))
    place = st.integers(0, len(one) - 1)
    kind = data.draw(st.sampled_from(["cut", "flip", "splice", "body", "twice"]))
    at = data.draw(place)
    if kind == "cut":
        spoiled = one[:at]
    elif kind == "splice":
        spoiled = one[:at] + two[data.draw(st.integers(0, len(two))) :]
    elif kind == "twice":
        spoiled = one[:at] + one[data.draw(place) :]
    else:
        at = len(one) - 1 - at % 400 if kind == "body" else at
        flipped = one[at] ^ 1 << data.draw(st.integers(0, 7))
        spoiled = one[:at] + bytes([flipped]) + one[at + 1 :]
    found = decode(spoiled, context(SMALL.layout))
    if isinstance(found, Payload):
        assert streams(repack(found)) == streams(spoiled)
        assert all(np.isfinite(one).all() for one in found.tensors().values())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    assert isinstance(decode(data, context(SMALL.layout)), Refusal)

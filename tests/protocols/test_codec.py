"""What was encoded is decoded, by every format."""

import math
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load

from fedelta.protocols import seeds
from fedelta.protocols.codec import Payload, decode, encode, repack, wire
from fedelta.protocols.codings import draft
from fedelta.protocols.errors import BoundsError, ConfigError, PayloadError
from fedelta.protocols.masks import mask_key
from fedelta.protocols.places import largest
from fedelta.protocols.values import CODINGS, EIGHTHS, HALVES
from fedelta.protocols.vectors import Floats, Layout, TaskVector

from .forgeries import streams
from .samples import (
    SMALL,
    WIRES,
    accepted,
    context,
    header,
    payload,
    vector,
    vectors,
)

some = settings(max_examples=30, deadline=None)


@pytest.mark.parametrize("text", WIRES)
@some
@given(given_=vectors())
def test_decoded_and_encoded_again(text: str, given_: TaskVector) -> None:
    try:
        data = payload(given_, text)
    except BoundsError:
        peak = max(float(np.abs(t).max(initial=0)) for t in given_.tensors.values())
        assert peak * 10 > 2.0**112
        return
    found = accepted(data, given_.layout, wire=text)
    again = repack(found)
    assert streams(again, given_.layout) == streams(data, given_.layout)
    twice = accepted(again, given_.layout)
    one, two = found.tensors(), twice.tensors()
    assert all((one[name] == two[name]).all() for name in one)
    assert (found.norm, found.kept) == (twice.norm, twice.kept)
    _check_totals(found, one)


def _check_totals(found: Payload, tensors: dict[str, Floats]) -> None:
    flat = [tensors[name].astype(np.float64) for name in found.layout.names]
    norm = math.sqrt(sum(float((tensor**2).sum()) for tensor in flat))
    assert found.norm == pytest.approx(norm, rel=1e-9)
    peaks = [np.abs(tensor).max(initial=0) for tensor in flat]
    assert found.peaks.tolist() == peaks
    if found.wire.places != "seeded":
        kept = sum(int(np.count_nonzero(tensor)) for tensor in flat)
        if found.wire.places == "gaps":
            assert found.kept == kept
        else:
            assert found.kept == found.layout.size


@some
@given(vectors())
def test_fp32_is_exact(given_: TaskVector) -> None:
    found = accepted(payload(given_, "fp32"), given_.layout).tensors()
    assert all((found[name] == given_.tensors[name]).all() for name in found)
    assert not any(np.signbit(found[n][found[n] == 0]).any() for n in found)


@pytest.mark.parametrize(("text", "share"), [("fp16", 2.0**-11), ("fp8", 2.0**-4)])
def test_rounded_to_nearest(text: str, share: float) -> None:
    given_ = vector({"w": (70_000,), "v": (5,)}, 3e-7)
    found = accepted(payload(given_, text), given_.layout)
    for name, tensor in found.tensors().items():
        exact = given_.tensors[name]
        step = 2.0 ** found.exponent(found.layout.place(name))
        least = 2.0**-25 if text == "fp16" else 2.0**-10
        error = np.abs(tensor - exact)
        assert (error <= np.maximum(np.abs(exact) * share, step * least)).all()


def test_every_fp8_code() -> None:
    """Against the table, and the halves between two codes go to the even one."""
    sizes, one = EIGHTHS[:127], np.float32(1)
    codes = CODINGS["fp8"].write(draft(np.concatenate([sizes, -sizes[1:]]), one))[0]
    assert codes.tolist() == [*range(127), *range(129, 255)]
    middles = (sizes[1:] + sizes[:-1]) / 2
    between = CODINGS["fp8"].write(draft(middles.astype(np.float32), one))[0]
    assert (between % 2 == 0).all()
    assert (np.abs(EIGHTHS[between] - middles) == (sizes[1:] - sizes[:-1]) / 2).all()
    assert EIGHTHS[126] == 448
    assert np.isnan(EIGHTHS[[127, 255]]).all()
    assert HALVES[0x3C00] == 1


def test_sign256_is_sign_and_mean() -> None:
    given_ = vector({"w": (66_000,)})
    found = accepted(payload(given_, "sign256"), given_.layout).tensors()["w"]
    exact = given_.tensors["w"]
    assert (np.sign(found) == np.where(exact < 0, -1, 1)).all()
    for first in (0, 256, 65_536 - 256, 65_536, 65_536 + 256):
        group = slice(first, first + 256)
        mean = np.abs(exact[group]).mean(dtype=np.float64)
        assert np.abs(found[group]) == pytest.approx(mean, rel=2.0**-11)


def test_sparse_is_the_largest() -> None:
    given_ = vector({"w": (70_000,), "v": (10,), "u": (1,)})
    found = accepted(payload(given_, "sparse(0.05)"), given_.layout)
    for name, tensor in found.tensors().items():
        exact = given_.tensors[name]
        kept = np.flatnonzero(tensor)
        assert len(kept) == math.ceil(0.05 * exact.size)
        left = np.delete(np.abs(exact), kept)
        assert np.abs(exact[kept]).min() >= left.max(initial=0)


@given(st.lists(st.integers(-3, 3), max_size=40), st.integers(0, 12))
def test_largest(numbers: list[int], most: int) -> None:
    values = np.array(numbers, np.float32)
    order = sorted(range(len(numbers)), key=lambda i: (-abs(numbers[i]), i))
    expected = sorted(i for i in order[:most] if numbers[i])
    assert largest(values, most).tolist() == expected


def test_dare_is_unbiased_and_its_mask_is_drawn_again() -> None:
    given_ = vector({"w": (70_000,)})
    said = header(given_.layout)
    found = accepted(payload(given_, "dare(0.1, values='fp32')"), given_.layout)
    key = mask_key(said, given_.layout, 0, shared=False)
    kept = seeds.keep(key, 0, 70_000, 0.1)
    expected = np.where(kept, given_.tensors["w"] * np.float32(1 / 0.1), 0)
    assert (found.tensors()["w"] == expected.astype(np.float32)).all()
    assert found.kept == 7000
    other = encode(given_, "dare(0.1)", header(given_.layout, client="bob"))
    there = accepted(other, given_.layout).tensors()["w"] != 0
    assert 300 < (there & kept).sum() < 1100


def test_blocks_come_in_any_order() -> None:
    """Across tensors, spans and chunks; another reader is independent."""
    given_ = vector({"a": (1 << 20,), "b": (70_000,), "c": (40,)})
    for text in ("sparse(0.01)", "fp8", "sign256", "dare(0.01)"):
        found = accepted(payload(given_, text), given_.layout)
        whole = np.concatenate([found.tensors()[name] for name in "abc"])
        reader = found.clone()
        order = seeds.permutation(1, len(given_.layout.spans)).tolist()
        for index in order:
            span = given_.layout.spans[index]
            expected = whole[span.flat : span.flat + span.size]
            assert (reader.block(span).dense() == expected).all()


def test_small_replies_stay_small() -> None:
    """Twelve low-rank modules and a head: one bit a value and little beside it."""
    shapes: dict[str, tuple[int, ...]] = {"classifier.weight": (21, 384)}
    for layer in range(6):
        for module in ("query", "value"):
            name = f"encoder.layer.{layer}.attention.self.{module}"
            shapes[f"{name}.lora_A.weight"] = (8, 384)
            shapes[f"{name}.lora_B.weight"] = (384, 8)
    given_ = vector(shapes)
    assert given_.layout.size == 81_792
    sizes = {text: len(payload(given_, text)) for text in WIRES}
    assert sizes["sign256"] < 12_500
    assert sizes["sparse(density=0.05)"] < 7_000
    assert sizes["fp16"] < 4 * 81_792 / 2.2


def test_an_ordinary_reader_opens_it() -> None:
    tensors = load(payload(SMALL, "sparse(0.3)"))
    assert sorted(tensors) == ["frames", "scales", "tables"]


def test_memory_is_bounded() -> None:
    """At most three times the input and one chunk's scratch."""
    given_ = TaskVector.of({"w": np.zeros((5 << 20,), np.float32)})
    noise = vector({"w": (3 << 20,)})
    for one in (given_, noise):
        for text in ("fp32", "sparse(0.3)", "sign256"):
            data = payload(one, text)
            tracemalloc.start()
            found = accepted(data, one.layout)
            found.block(one.layout.spans[-1])
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak <= 3 * len(data) + (16 << 20), (text, peak, len(data))


def test_what_is_not_sent() -> None:
    layout = Layout.of({"w": (2,)})
    for bad in (math.nan, math.inf, -math.inf):
        spoiled = TaskVector.of({"w": np.array([0, bad], np.float32)})
        with pytest.raises(BoundsError, match="w: a value is not finite"):
            encode(spoiled, "fp16", header(layout))
    huge = TaskVector.of({"w": np.array([0, 3e38], np.float32)})
    with pytest.raises(BoundsError, match="too large"):
        encode(huge, "fp16", header(layout))
    many = TaskVector.of({"w": np.full(2000, 3e38, np.float32)})
    for text in ("dare(1e-3, values='fp32')", "dare(1e-3, values='fp8')"):
        with pytest.raises(BoundsError, match="too large"):
            encode(many, text, header(many.layout))
    with pytest.raises(PayloadError, match="not the vector's"):
        encode(huge, "fp32", header(Layout.of({"v": (2,)})))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fp7", "did you mean"),
        ("sparse(density=0)", "expected a share"),
        ("sparse(density=1.5)", "expected a share"),
        ("dare(values='fp4')", "allowed: fp32"),
        ("sparse(densty=0.1)", "did you mean 'density'"),
        ("sparse(values=sparse)", "allowed: fp32"),
    ],
)
def test_no_such_format(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        wire(text)
    assert said in str(caught.value)


def test_formats_by_text() -> None:
    assert wire("sparse(values=fp16)") == wire("sparse(density=0.05, values='fp16')")
    for text in WIRES:
        assert wire(str(wire(text))) == wire(text)


def test_any_buffer_is_read() -> None:
    data = payload(SMALL, "fp16")
    for buffer in (data, bytearray(data), memoryview(data)):
        assert isinstance(decode(buffer, context(SMALL.layout)), Payload)
    assert struct.unpack("<Q", data[:8])[0] % 8 == 0


@pytest.mark.parametrize("text", WIRES)
def test_the_largest_that_is_sent(text: str) -> None:
    """At the upper end of the scales nothing overflows on the way back."""
    for size in (2.0**125.9, 2.0**119, 2.0**118.8):
        given_ = TaskVector.of({"w": np.array([size, -size] * 300, np.float32)})
        try:
            data = payload(given_, text)
        except BoundsError:
            assert size > 2.0**118.5
            continue
        assert accepted(data, given_.layout).kept
